import fc from "fast-check";
import { expect, it } from "vitest";
import { merge } from "./series";

const series = (at: number[]) => ({ at, columns: { total: at.map((one) => one * 2) } });
const times = fc
  .uniqueArray(fc.integer({ min: 0, max: 9000 }), { maxLength: 60 })
  .map((at) => at.sort((a, b) => a - b));

it("merges without repeating a moment, in order, values staying with their moments, one hour at most", () => {
  fc.assert(
    fc.property(times, times, (older, newer) => {
      const { at, columns } = merge(series(older), series(newer), ["total"]);
      expect(columns.total).toEqual(at.map((one) => one * 2));
      for (let index = 1; index < at.length; index++)
        expect(at[index]).toBeGreaterThan(at[index - 1] as number);
      const last = Math.max(-1, ...older, ...newer);
      if (last >= 0) expect(at.at(-1)).toBe(last);
      for (const one of at) expect(one).toBeGreaterThanOrEqual(last - 3600);
    }),
  );
});

it("keeps the place of a column that was not measured", () => {
  const { at, columns } = merge(series([1, 2]), { at: [3, 4], columns: {} }, ["total"]);
  expect(at).toEqual([1, 2, 3, 4]);
  expect(columns.total).toEqual([2, 4, null, null]);
});
