import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { after, type Columns, goesBack, join } from "./points";

const columns = (steps: number[]): Columns => ({ step: steps, loss: steps.map((step) => step / 2) });

describe("metric points", () => {
  it("are the same however they were cut into a fetch and overlapping events", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 40 }),
        fc.array(fc.integer({ min: 0, max: 12 })),
        (fetched, cuts) => {
          const all = Array.from({ length: 50 }, (_, step) => step + 1);
          let known = columns(all.slice(0, fetched));
          let at = Math.max(0, fetched - 5); // events that the fetch has already seen
          for (const size of [...cuts, 50]) {
            known = join(known, columns(all.slice(at, at + size)));
            at += size;
          }
          expect(known).toEqual(columns(all));
        },
      ),
    );
  });

  it("fill a column that begins later with gaps", () => {
    expect(join({ step: [1, 2], loss: [3, 2] }, { step: [3], fvu: [0.5] })).toEqual({
      step: [1, 2, 3],
      loss: [3, 2, null],
      fvu: [null, null, 0.5],
    });
  });

  it("notice that a run went on from an earlier checkpoint", () => {
    const known = columns([10, 20, 30]);
    expect(goesBack(known, columns([40]))).toBe(false);
    expect(goesBack(known, columns([20, 30]))).toBe(true);
    expect(goesBack({}, columns([20]))).toBe(false);
    expect(after(known, 20)).toEqual(columns([30]));
  });
});
