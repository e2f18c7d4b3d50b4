import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ChannelEvent, type Joined, Sequence } from "./sequence";

const event = (seq: number): ChannelEvent => ({ channel: "c", seq, type: "t", data: seq, at: "" });

/** A server that remembers only the last `memory` events, whose state is the sum of all numbers so far. */
class Server {
  seq: number;
  constructor(
    start: number,
    readonly memory: number,
  ) {
    this.seq = start;
  }
  state(): number {
    return (this.seq * (this.seq + 1)) / 2;
  }
  publish(): ChannelEvent {
    this.seq += 1;
    return event(this.seq);
  }
  join(last: number | null): Joined {
    if (last === null || last > this.seq || this.seq - last > this.memory)
      return { seq: this.seq, snapshot: this.state() };
    const missed = Array.from({ length: this.seq - last }, (_, index) => event(last + 1 + index));
    return { seq: this.seq, events: missed };
  }
}

/** A client that keeps the sum, and notes what it was given. */
class Client {
  readonly sequence = new Sequence();
  sum = Number.NaN;
  applied: number[] = [];
  gap = false;
  take(delivery: ReturnType<Sequence["receive"]>): void {
    if (delivery.snapshot) {
      this.sum = delivery.snapshot.value as number;
      this.applied = [];
    }
    for (const one of delivery.events) {
      this.sum += one.data as number;
      this.applied.push(one.seq);
    }
    this.gap = delivery.gap;
  }
}

describe("Sequence", () => {
  it("ends with the server's state, each event applied once and in order, whatever is lost, doubled or late", () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.constant({ do: "publish" as const }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constant("arrive" as const), pick: fc.nat(20) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant("lose" as const), pick: fc.nat(20) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant("double" as const), pick: fc.nat(20) }) },
      { weight: 1, arbitrary: fc.constant({ do: "join" as const }) },
      { weight: 1, arbitrary: fc.constant({ do: "answer" as const }) },
    );
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 80 }),
        fc.integer({ min: 0, max: 8 }),
        fc.nat(50),
        (steps, memory, start) => {
          const server = new Server(start, memory);
          const client = new Client();
          const wire: ChannelEvent[] = [];
          const answers: Joined[] = [];
          const check = () => {
            for (let index = 1; index < client.applied.length; index++)
              expect(client.applied[index]).toBe((client.applied[index - 1] as number) + 1);
            if (client.sequence.last !== null) {
              const last = client.sequence.last;
              expect(client.sum).toBe((last * (last + 1)) / 2);
            }
          };
          const answer = () => {
            const joined = answers.shift();
            if (joined) client.take(client.sequence.join(joined));
          };
          for (const one of steps) {
            if (one.do === "publish") wire.push(server.publish());
            else if (one.do === "join") answers.push(server.join(client.sequence.last));
            else if (one.do === "answer") answer();
            else if (wire.length > 0) {
              const at = one.pick % wire.length;
              const chosen = wire[at] as ChannelEvent;
              if (one.do !== "double") wire.splice(at, 1);
              if (one.do !== "lose") client.take(client.sequence.receive(chosen));
            }
            check();
          }
          // In the end everything still under way arrives, and a gap is asked about.
          while (answers.length > 0) answer();
          for (const one of wire) client.take(client.sequence.receive(one));
          check();
          client.take(client.sequence.join(server.join(client.sequence.last)));
          check();
          expect(client.gap).toBe(false);
          expect(client.sequence.last).toBe(server.seq);
          expect(client.sum).toBe(server.state());
        },
      ),
      { numRuns: 500 },
    );
  });

  it("tells of a gap, and takes the late event when it comes after all", () => {
    const sequence = new Sequence();
    sequence.join({ seq: 4, snapshot: {} });
    expect(sequence.receive(event(6))).toEqual({ events: [], gap: true });
    expect(sequence.receive(event(5)).events.map((one) => one.seq)).toEqual([5, 6]);
  });

  it("keeps events that come before the answer to the join", () => {
    const sequence = new Sequence();
    expect(sequence.receive(event(3)).events).toEqual([]);
    expect(sequence.join({ seq: 2, snapshot: {} }).events.map((one) => one.seq)).toEqual([3]);
  });

  it("starts over with a server that counts from elsewhere", () => {
    const sequence = new Sequence();
    sequence.join({ seq: 90, snapshot: { old: true } });
    const delivery = sequence.join({ seq: 1, snapshot: { old: false } });
    expect(delivery.snapshot?.value).toEqual({ old: false });
    expect(sequence.receive(event(2)).events).toHaveLength(1);
  });

  it("says that the state must be read again when a channel has no snapshot", () => {
    const sequence = new Sequence();
    expect(sequence.join({ seq: 7, snapshot: null }).snapshot).toEqual({ value: null });
    expect(sequence.join({ seq: 7, events: [] }).snapshot).toBeUndefined();
  });
});
