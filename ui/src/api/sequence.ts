/** Order, completeness and uniqueness of one channel's events, whatever the transport does to them. */

export interface ChannelEvent {
  channel: string;
  seq: number;
  type: string;
  data: unknown;
  at: string;
}

/**
 * The server's answer to joining a channel: the events after our last one, or the state at `seq`. The snapshot of a
 * channel that only announces changes is null; it still says that what is known must be read again.
 */
export interface Joined {
  seq: number;
  snapshot?: unknown;
  events?: ChannelEvent[] | null;
}

export interface Delivery {
  /** Present when the state must be replaced before the events are applied. */
  snapshot?: { value: unknown };
  /** In order, without gaps, none of them delivered before. */
  events: ChannelEvent[];
  /** Something is missing: ask again, saying `last`. */
  gap: boolean;
}

/** Numbers are consecutive per channel, so what is missing can be seen: early events wait until it has come. */
export class Sequence {
  #last: number | null = null;
  #early = new Map<number, ChannelEvent>();

  /** The number of the last event delivered, or of the snapshot; null before the first join. */
  get last(): number | null {
    return this.#last;
  }

  /** An event came. Before the first join it waits, since nothing is known to put it upon. */
  receive(event: ChannelEvent): Delivery {
    if (this.#last === null || event.seq > this.#last) this.#early.set(event.seq, event);
    return this.#drain();
  }

  /** The answer to a join, or the state read by polling. */
  join(answer: Joined): Delivery {
    const { events } = answer;
    if (!events) {
      // Even when it lies behind us: a server that started anew counts from elsewhere.
      if (this.#last !== null && answer.seq < this.#last) this.#early.clear();
      this.#last = answer.seq;
      return { ...this.#drain(), snapshot: { value: answer.snapshot ?? null } };
    }
    this.#last ??= events.length > 0 ? Math.min(...events.map((event) => event.seq)) - 1 : answer.seq;
    for (const event of events) if (event.seq > this.#last) this.#early.set(event.seq, event);
    return this.#drain();
  }

  #drain(): Delivery {
    const events: ChannelEvent[] = [];
    if (this.#last === null) return { events, gap: false };
    for (const seq of this.#early.keys()) if (seq <= this.#last) this.#early.delete(seq);
    for (let next = this.#early.get(this.#last + 1); next; next = this.#early.get(this.#last + 1)) {
      this.#early.delete(next.seq);
      events.push(next);
      this.#last = next.seq;
    }
    return { events, gap: this.#early.size > 0 };
  }
}
