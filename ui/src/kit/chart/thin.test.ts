import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PointLog } from "./pointLog";
import { type Grid, gridX, lowerBound, meanOf, nearest, smooth, smoothingScale, thin } from "./thin";

const values = fc.array(fc.oneof(fc.double({ noNaN: true, min: -1e6, max: 1e6 }), fc.constant(Number.NaN)), {
  minLength: 1,
  maxLength: 400,
});
const known = (list: Iterable<number | null>) =>
  [...list].filter((value): value is number => value !== null && !Number.isNaN(value));

describe("a thinned curve", () => {
  it("keeps the extremes of every bucket, in order, and nothing else", () => {
    fc.assert(
      fc.property(values, fc.integer({ min: 1, max: 50 }), (y, buckets) => {
        const x = y.map((_, index) => index * 3 + 1);
        const grid: Grid = { low: 1, high: x.at(-1) === 1 ? 2 : (x.at(-1) as number), buckets, log: false };
        const out = thin(x, y, grid);
        expect(out).toHaveLength(2 * buckets);
        for (let bucket = 0; bucket < buckets; bucket++) {
          const inside = known(
            y.filter(
              (_, index) =>
                Math.min(
                  buckets - 1,
                  Math.floor((((x[index] as number) - grid.low) * buckets) / (grid.high - grid.low)),
                ) === bucket,
            ),
          );
          const pair = known(out.slice(2 * bucket, 2 * bucket + 2));
          if (inside.length === 0) expect(pair).toEqual([]);
          else {
            const [min, max] = [Math.min(...inside), Math.max(...inside)];
            const rising = inside.indexOf(min) <= inside.indexOf(max);
            expect(pair).toEqual(min === max ? [min] : rising ? [min, max] : [max, min]);
          }
        }
      }),
    );
  });

  it("reaches the edges of the part that is shown", () => {
    const out = thin([0, 10, 20], [0, 10, 20], { low: 5, high: 15, buckets: 4, log: false });
    expect(out[0]).toBeCloseTo(5);
    expect(out.at(-1)).toBeCloseTo(15);
    expect(known(out)).toContain(10);
  });

  it("stands where the axis puts it, also a logarithmic one", () => {
    const grid: Grid = { low: 1, high: 1000, buckets: 3, log: true };
    expect(thin([1, 10, 100, 1000], [1, 2, 3, 4], grid)).toEqual([1, null, 2, null, 3, 4]);
    expect(gridX(grid)[2]).toBeCloseTo(10 ** 1.25);
    expect(thin([1, 10], [-1, 0], grid, true)).toEqual([null, null, null, null, null, null]);
  });
});

describe("smoothing", () => {
  it("leaves a constant as it is, and nothing where nothing was measured", () => {
    const smoothed = smooth([1, 2, 5, 9], [3, 3, Number.NaN, 3], 4);
    expect(smoothed[2]).toBeNaN();
    for (const index of [0, 1, 3]) expect(smoothed[index]).toBeCloseTo(3, 12);
  });

  it("is the weighted mean that its definition says", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true, min: -100, max: 100 }), { minLength: 1 }), (y) => {
        const x = y.map((_, index) => index ** 1.5);
        const last = x.length - 1;
        const weights = x.map((at) => Math.exp(-((x[last] as number) - at) / 7));
        const expected =
          y.reduce((sum, value, index) => sum + value * (weights[index] as number), 0) /
          weights.reduce((sum, weight) => sum + weight, 0);
        expect(smooth(x, y, 7)[last]).toBeCloseTo(expected, 8);
      }),
    );
  });

  it("reaches nowhere at 0 and over a fifth of the axis at 1", () => {
    expect(smoothingScale(0, 1000)).toBe(0);
    expect(smoothingScale(1, 1000)).toBeCloseTo(200);
  });
});

describe("groups and the crosshair", () => {
  it("show mean and standard deviation", () => {
    const { mean, low, high } = meanOf([
      [1, 1, 2, 2],
      [3, 3, 4, 4],
    ]);
    expect(mean).toEqual([2, 2, 3, 3]);
    expect(low).toEqual([1, 1, 2, 2]);
    expect(high).toEqual([3, 3, 4, 4]);
    const bridged = meanOf([[1, null, null, null, 3, null]]).mean;
    for (const [place, value] of [1, 1, 5 / 3, 7 / 3, 3, 3].entries())
      expect(bridged[place]).toBeCloseTo(value, 12);
  });

  it("find the nearest point that was measured", () => {
    const x = [0, 10, 20, 30];
    const y = [1, Number.NaN, Number.NaN, 4];
    expect(nearest(x, y, 12)).toBe(0);
    expect(nearest(x, y, 16)).toBe(3);
    expect(nearest(x, [Number.NaN, Number.NaN, Number.NaN, Number.NaN], 5)).toBe(-1);
    expect(lowerBound(x, 10)).toBe(1);
  });
});

describe("a log of points", () => {
  const columns = (steps: number[]) => ({
    step: steps,
    time: steps.map((step) => 1000 + step),
    loss: steps.map((step) => step / 2),
  });

  it("is the same however it was cut into a fetch and overlapping events", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 40 }),
        fc.array(fc.integer({ min: 0, max: 12 })),
        (fetched, cuts) => {
          const all = Array.from({ length: 3000 }, (_, step) => step + 1);
          const log = new PointLog();
          log.replace(columns(all.slice(0, fetched)));
          let at = Math.max(0, fetched - 5); // events that the fetch has already seen
          for (const size of [...cuts, 3000]) {
            log.append(columns(all.slice(at, at + size)));
            at += size;
          }
          expect([...(log.column("step") ?? [])]).toEqual(all);
          expect([...(log.column("loss") ?? [])]).toEqual(all.map((step) => step / 2));
          expect(log.column("elapsed")?.at(-1)).toBe(2999);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("fills a column that begins later with gaps, and tells who watches", () => {
    const log = new PointLog();
    let told = 0;
    log.watch(() => told++);
    log.replace({ step: [1, 2], loss: [3, null] });
    log.append({ step: [3], fvu: [0.5] });
    log.append({ step: [3], fvu: [0.7] });
    expect(told).toBe(2);
    expect([...(log.column("fvu") ?? [])]).toEqual([Number.NaN, Number.NaN, 0.5]);
    expect([...(log.column("loss") ?? [])]).toEqual([3, Number.NaN, Number.NaN]);
    expect([log.last("loss"), log.last("fvu"), log.last("none")]).toEqual([3, 0.5, null]);
  });

  it("notices that a run went on from an earlier checkpoint", () => {
    const log = new PointLog();
    expect(log.goesBack(columns([20]))).toBe(false);
    log.replace(columns([10, 20, 30]));
    expect(log.goesBack(columns([40]))).toBe(false);
    expect(log.goesBack(columns([20, 30]))).toBe(true);
  });

  it("takes in a finer view of a part, and goes on behind it", () => {
    const log = new PointLog();
    log.replace({ step: [1, 100, 200, 300], loss: [1, 2, 3, 4] });
    log.refine({ step: [90, 150, 210], fvu: [7, 8, 9] });
    log.append({ step: [301], loss: [5] });
    expect([...(log.column("step") ?? [])]).toEqual([1, 90, 150, 210, 300, 301]);
    expect([...(log.column("loss") ?? [])]).toEqual([1, Number.NaN, Number.NaN, Number.NaN, 4, 5]);
    expect(log.column("fvu")?.[2]).toBe(8);
  });

  it("leaves pauses out of the training time", () => {
    const log = new PointLog();
    log.replace({ step: [1, 2, 3, 4, 5], time: [0, 1, 2, 5000, 5001], loss: [1, 1, 1, 1, 1] });
    expect(log.column("elapsed")?.at(-1)).toBe(4);
  });
});
