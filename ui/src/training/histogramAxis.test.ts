import { expect, test } from "vitest";
import { axisTicks, powerWords } from "./histogramAxis";

const decades = (low: number, high: number, per: number) =>
  Array.from({ length: (high - low) * per + 1 }, (_, place) => 10 ** (low + place / per));

test("powers of ten are written as such, near 1 as plain numbers", () => {
  expect(powerWords(1e-5)).toBe("10⁻⁵");
  expect(powerWords(-1e-4)).toBe("−10⁻⁴");
  expect(powerWords(-0.01)).toBe("−0.01");
  expect(powerWords(1e12)).toBe("10¹²");
  expect(powerWords(0.0316)).toBe("0.032");
});

test("ticks stand at the powers of ten among the edges", () => {
  const ticks = axisTicks(decades(-4, 0, 10), "log");
  expect(ticks.map((tick) => tick.words)).toEqual(["10⁻⁴", "10⁻³", "0.01", "0.1", "1"]);
  expect(ticks.map((tick) => tick.at)).toEqual([0, 0.25, 0.5, 0.75, 1]);
});

test("an axis of both signs has its zero in the middle, and nothing runs into it", () => {
  const positive = decades(-3, 2, 8);
  const ticks = axisTicks([...positive.map((edge) => -edge).reverse(), ...positive], "symlog");
  const zero = ticks.find((tick) => tick.words === "0");
  expect(zero?.at).toBeCloseTo(0.5);
  for (const tick of ticks) if (tick !== zero) expect(Math.abs(tick.at - 0.5)).toBeGreaterThan(0.06);
});

test("many decades keep a distance", () => {
  const ticks = axisTicks(decades(-20, 0, 2), "log");
  for (let place = 1; place < ticks.length; place++)
    expect((ticks[place]?.at ?? 0) - (ticks[place - 1]?.at ?? 0)).toBeGreaterThanOrEqual(0.075);
});
