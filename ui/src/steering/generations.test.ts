import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { append, type Generation, type Known, keep, later, type Tokens } from "./generations";

const tokens: Tokens = Array.from({ length: 30 }, (_, id) => ({ id, text: ` ${id}`, logprob: -1 }));
const generation = (have: number, extra: Partial<Generation> = {}): Generation =>
  ({
    id: "ge_1",
    state: "writing",
    finished_at: null,
    outputs: { steered: { text: "", tokens: tokens.slice(0, have), finish: null } },
    ...extra,
  }) as unknown as Generation;
const start = (have: number): Known => new Map([["ge_1", generation(have)]]);
const event = (from: number, to: number) => ({
  generation: "ge_1",
  side: "steered" as const,
  start: from,
  tokens: tokens.slice(from, to),
  finish: null,
});

describe("a text that is being written", () => {
  it("is the same whatever pieces and repetitions it comes in", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 10 }),
        fc.array(fc.tuple(fc.nat(6), fc.integer({ min: 0, max: 6 }))),
        (have, cuts) => {
          let known = start(have);
          let at = have;
          for (const [back, size] of [...cuts, [0, 30] as const]) {
            const from = Math.max(0, at - back);
            known = append(known, event(from, at + size)) ?? known;
            at = Math.min(30, Math.max(at, at + size));
          }
          expect(known.get("ge_1")?.outputs.steered?.tokens).toEqual(tokens);
        },
      ),
    );
  });

  it("is fetched anew when tokens are missing", () => {
    expect(append(start(2), event(5, 8))).toBeNull();
    expect(append(new Map(), event(0, 3))).toBeNull();
  });

  it("keeps what was streamed until the stored one has caught up", () => {
    const streamed = generation(8);
    expect(later(streamed, generation(3)).outputs.steered?.tokens).toHaveLength(8);
    expect(later(streamed, generation(9)).outputs.steered?.tokens).toHaveLength(9);
    const done = generation(5, { finished_at: "2026-01-01T00:00:00Z" });
    expect(later(streamed, done)).toBe(done);
    expect(later(done, streamed)).toBe(done);
    expect(keep(new Map(), [done]).get("ge_1")).toBe(done);
  });
});
