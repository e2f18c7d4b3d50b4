import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { front, scale } from "./scale";

describe("the front", () => {
  it("has exactly the points that no other beats", () => {
    const point = fc.record({ x: fc.integer({ min: 0, max: 20 }), y: fc.integer({ min: 0, max: 20 }) });
    fc.assert(
      fc.property(fc.array(point, { maxLength: 30 }), (points) => {
        const found = front(points, "lower");
        const beaten = (one: { x: number; y: number }) =>
          points.some(
            (other) => other.x <= one.x && other.y <= one.y && (other.x < one.x || other.y < one.y),
          );
        for (const one of found) expect(beaten(one)).toBe(false);
        for (const one of points)
          if (!beaten(one)) expect(found.some((other) => other.x === one.x && other.y === one.y)).toBe(true);
        expect(
          front(
            points.map(({ x, y }) => ({ x, y: -y })),
            "higher",
          ).map((one) => -one.y),
        ).toEqual(found.map((one) => one.y));
      }),
    );
  });
});

describe("a scale", () => {
  it("keeps all values and ticks inside, in order", () => {
    for (const log of [false, true]) {
      const map = scale([2, 30, 400], [0, 100], log);
      expect(map.log).toBe(log);
      const places = [2, ...map.ticks.filter((tick) => tick > 2 && tick < 400), 400].map(map);
      expect(places).toEqual(places.toSorted((one, other) => one - other));
      expect(map(2)).toBeGreaterThan(0);
      expect(map(400)).toBeLessThan(100);
      expect(map.ticks.length).toBeGreaterThan(2);
    }
    expect(scale([-1, 5], [0, 100], true).log).toBe(false);
  });
});
