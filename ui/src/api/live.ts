/** One connection for all channels: events over the socket, polling of the same state while it is down. */
import { type ChannelEvent, type Delivery, type Joined, Sequence } from "./sequence";

export interface Transport {
  connected(): boolean;
  /** Join a channel; `last` is the last event seen, null for a snapshot. */
  subscribe(channel: string, last: number | null): Promise<Joined>;
  unsubscribe(channel: string): void;
  /** Connect now if there is no connection; if there is one, make sure that it is alive, and make it anew if not. */
  wake(): void;
  /** `resync`: the server itself may have missed something, so every channel is to be joined again. */
  listen(on: { up(): void; down(): void; resync(): void; event(event: ChannelEvent): void }): void;
}

export interface Listener {
  /** The state anew: after joining, after a gap that could not be replayed, and at each poll that saw a change. */
  onSnapshot?(snapshot: unknown): void;
  onEvent?(event: ChannelEvent): void;
}

export type Connection = "connecting" | "live" | "polling" | "offline";

/** One listener's view of a channel. Each has its own sequence, so that a newcomer costs the others nothing. */
interface Follower {
  channel: string;
  listener: Listener;
  sequence: Sequence;
  joining: boolean;
  again: boolean;
  gapTimer: ReturnType<typeof setTimeout> | null;
}

export interface LiveOptions {
  pollMilliseconds: number;
  /** How long an event out of order may be waited for before we ask for it. */
  gapMilliseconds: number;
}

export class Live {
  readonly #followers = new Map<string, Set<Follower>>();
  readonly #watchers = new Set<() => void>();
  #connection: Connection = "connecting";
  #pollTimer: ReturnType<typeof setInterval> | null = null;
  #wasUp = false;
  /** Called when the socket is back: what no channel tells may have changed meanwhile. */
  onReturn: () => void = () => {};

  constructor(
    private readonly transport: Transport,
    private readonly readState: (channel: string) => Promise<Joined>,
    private readonly options: LiveOptions = { pollMilliseconds: 1000, gapMilliseconds: 250 },
  ) {
    transport.listen({
      up: () => this.#up(),
      down: () => this.#down(),
      resync: () => this.#joinAll(),
      event: (event) => {
        for (const follower of this.#followers.get(event.channel) ?? [])
          this.#deliver(follower, follower.sequence.receive(event));
      },
    });
  }

  get connection(): Connection {
    return this.#connection;
  }

  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** The machine woke up, or the network is back. */
  wake(): void {
    this.transport.wake();
  }

  /** Follow a channel until the returned function is called. */
  follow(channel: string, listener: Listener): () => void {
    const follower: Follower = {
      channel,
      listener,
      sequence: new Sequence(),
      joining: false,
      again: false,
      gapTimer: null,
    };
    const followers = this.#followers.get(channel) ?? new Set();
    this.#followers.set(channel, followers.add(follower));
    this.#join(follower);
    return () => {
      followers.delete(follower);
      if (follower.gapTimer) clearTimeout(follower.gapTimer);
      if (followers.size > 0 || this.#followers.get(channel) !== followers) return;
      this.#followers.delete(channel);
      if (this.transport.connected()) this.transport.unsubscribe(channel);
    };
  }

  #up(): void {
    this.#setConnection("live");
    if (this.#pollTimer) clearInterval(this.#pollTimer);
    this.#pollTimer = null;
    this.#joinAll();
    if (this.#wasUp) this.onReturn();
    this.#wasUp = true;
  }

  #joinAll(): void {
    for (const followers of this.#followers.values()) for (const follower of followers) this.#join(follower);
  }

  #down(): void {
    if (this.#pollTimer) return;
    this.#setConnection("offline");
    this.#pollTimer = setInterval(() => void this.#poll(), this.options.pollMilliseconds);
    void this.#poll();
  }

  async #poll(): Promise<void> {
    const channels = [...this.#followers.keys()];
    const answers = await Promise.allSettled(channels.map((channel) => this.readState(channel)));
    if (this.transport.connected()) return;
    // With nothing followed there is nothing to ask, hence nothing known.
    const answered = answers.some((answer) => answer.status === "fulfilled");
    // The server is there again: the socket need not wait for its next attempt.
    if (answered && this.#connection === "offline") this.transport.wake();
    this.#setConnection(answered ? "polling" : "offline");
    answers.forEach((answer, index) => {
      if (answer.status === "rejected") return;
      for (const follower of this.#followers.get(channels[index] as string) ?? [])
        if (answer.value.seq !== follower.sequence.last)
          this.#deliver(follower, follower.sequence.join(answer.value));
    });
  }

  #join(follower: Follower): void {
    if (!this.transport.connected()) return;
    if (follower.joining) {
      follower.again = true;
      return;
    }
    follower.joining = true;
    this.transport
      .subscribe(follower.channel, follower.sequence.last)
      .then(
        (answer) => this.#deliver(follower, follower.sequence.join(answer)),
        () => {
          // The socket went down meanwhile; coming up again joins anew.
        },
      )
      .finally(() => {
        follower.joining = false;
        if (!follower.again) return;
        follower.again = false;
        this.#join(follower);
      });
  }

  #deliver(follower: Follower, delivery: Delivery): void {
    if (!this.#followers.get(follower.channel)?.has(follower)) return;
    if (delivery.snapshot) follower.listener.onSnapshot?.(delivery.snapshot.value);
    for (const event of delivery.events) follower.listener.onEvent?.(event);
    if (!delivery.gap && follower.gapTimer) {
      clearTimeout(follower.gapTimer);
      follower.gapTimer = null;
    } else if (delivery.gap && !follower.gapTimer) {
      follower.gapTimer = setTimeout(() => {
        follower.gapTimer = null;
        this.#join(follower);
      }, this.options.gapMilliseconds);
    }
  }

  #setConnection(connection: Connection): void {
    if (this.#connection === connection) return;
    this.#connection = connection;
    for (const watcher of this.#watchers) watcher();
  }
}
