import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Live, type Transport } from "./live";
import type { ChannelEvent, Joined } from "./sequence";

/** A transport in our hands: goes up and down, loses what it is told to. */
class Line implements Transport {
  up = false;
  seq = 0;
  history: ChannelEvent[] = [];
  joins: (number | null)[] = [];
  left: string[] = [];
  woken = 0;
  wake = () => void this.woken++;
  on: Parameters<Transport["listen"]>[0] | null = null;
  connected = () => this.up;
  listen = (on: Parameters<Transport["listen"]>[0]) => {
    this.on = on;
  };
  unsubscribe = (channel: string) => {
    this.left.push(channel);
  };
  state = (): Joined => ({ seq: this.seq, snapshot: { at: this.seq } });
  subscribe = async (_channel: string, last: number | null): Promise<Joined> => {
    this.joins.push(last);
    if (last === null) return this.state();
    return { seq: this.seq, events: this.history.filter((event) => event.seq > last) };
  };
  publish({ lost = false } = {}): void {
    this.seq += 1;
    const event = { channel: "jobs", seq: this.seq, type: "job", data: this.seq, at: "" };
    this.history.push(event);
    if (!lost && this.up) this.on?.event(event);
  }
  connect(): void {
    this.up = true;
    this.on?.up();
  }
  disconnect(): void {
    this.up = false;
    this.on?.down();
  }
}

describe("Live", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const settle = () => vi.advanceTimersByTimeAsync(0);

  function start(readState?: () => Promise<Joined>) {
    const line = new Line();
    const live = new Live(line, readState ?? (async () => line.state()));
    const seen: unknown[] = [];
    const stop = live.follow("jobs", {
      onSnapshot: (snapshot) => seen.push(snapshot),
      onEvent: (event) => seen.push(event.seq),
    });
    return { line, live, seen, stop };
  }

  it("asks for what was lost once a later event shows the gap", async () => {
    const { line, seen } = start();
    line.connect();
    await settle();
    line.publish();
    line.publish({ lost: true });
    line.publish();
    expect(seen).toEqual([{ at: 0 }, 1]);
    await vi.advanceTimersByTimeAsync(300);
    expect(seen).toEqual([{ at: 0 }, 1, 2, 3]);
    expect(line.joins).toEqual([null, 1]);
  });

  it("polls while the socket is down, and replays from there when it is up again", async () => {
    const { line, live, seen } = start();
    const returned = vi.fn();
    live.onReturn = returned;
    line.connect();
    await settle();
    line.disconnect();
    expect(live.connection).toBe("offline");
    line.publish();
    await vi.advanceTimersByTimeAsync(2000);
    expect(live.connection).toBe("polling");
    expect(seen).toEqual([{ at: 0 }, { at: 1 }]);
    await vi.advanceTimersByTimeAsync(6000);
    expect(seen).toHaveLength(2); // nothing changed, nothing is delivered
    line.publish();
    line.connect();
    await settle();
    expect(live.connection).toBe("live");
    expect(line.joins).toEqual([null, 1]);
    expect(seen).toEqual([{ at: 0 }, { at: 1 }, 2]);
    expect(returned).toHaveBeenCalledOnce();
    line.publish();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(seen).toEqual([{ at: 0 }, { at: 1 }, 2, 3]);
  });

  it("is offline when neither socket nor polling answers", async () => {
    const { line, live } = start(async () => Promise.reject(new Error("away")));
    line.disconnect();
    await vi.advanceTimersByTimeAsync(4000);
    expect(live.connection).toBe("offline");
  });

  it("gives a newcomer the state without disturbing who is there", async () => {
    const { line, live, seen, stop } = start();
    line.connect();
    await settle();
    line.publish();
    const newcomer: unknown[] = [];
    const leave = live.follow("jobs", {
      onSnapshot: (snapshot) => newcomer.push(snapshot),
      onEvent: (event) => newcomer.push(event.seq),
    });
    await settle();
    line.publish();
    expect(newcomer).toEqual([{ at: 1 }, 2]);
    expect(seen).toEqual([{ at: 0 }, 1, 2]);
    stop();
    expect(line.left).toEqual([]);
    leave();
    expect(line.left).toEqual(["jobs"]);
  });

  it("joins again when the server says that it may have missed something", async () => {
    const { line, seen } = start();
    line.connect();
    await settle();
    line.publish({ lost: true });
    line.on?.resync();
    await settle();
    expect(seen).toEqual([{ at: 0 }, 1]);
  });

  it("connects at once when the server answers again", async () => {
    let there = false;
    const { line } = start(async () => {
      if (!there) throw new Error("no server");
      return line.state();
    });
    line.connect();
    await settle();
    line.disconnect();
    await vi.advanceTimersByTimeAsync(3500);
    expect(line.woken).toBe(0);
    there = true;
    await vi.advanceTimersByTimeAsync(1000);
    expect(line.woken).toBe(1);
    await vi.advanceTimersByTimeAsync(5000);
    expect(line.woken).toBe(1);
  });
});
