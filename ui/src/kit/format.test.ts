import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ago, bytes, duration, exact, figure, parseTime, percent } from "./format";

const plain = (text: string) => text.replaceAll("\u2009", " ").replaceAll("\u2212", "-");

describe("figure", () => {
  it.each([
    [0, "0"],
    [5, "5"],
    [4096, "4096"],
    [49152, "49 152"],
    [134_515_008, "135 M"],
    [999_950, "1.00 M"],
    [123_456, "123 k"],
    [12_345.6, "12.3 k"],
    [1234.5, "1235"],
    [0.98765, "0.988"],
    [-0.5, "-0.500"],
    [0.0000123456, "1.23e-5"],
    [Number.POSITIVE_INFINITY, "∞"],
    [null, "–"],
    [Number.NaN, "–"],
  ])("%s → %s", (value, shown) => expect(plain(figure(value))).toBe(shown));

  it("never says anything but the number, to 3 figures", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e14, max: 1e14 }), (value) => {
        const text = plain(figure(value)).replaceAll(/ (?=\d)/g, "");
        const scale = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 }[text.at(-1) ?? ""] ?? 1;
        const read = Number.parseFloat(text) * scale;
        expect(Math.abs(read - value)).toBeLessThanOrEqual(Math.abs(value) * 0.00501);
      }),
    );
  });
});

it("exact keeps every digit", () => expect(plain(exact(134515008))).toBe("134 515 008"));
it.each([
  [0, "0 B"],
  [999, "999 B"],
  [1500, "1.50 kB"],
  [538_060_032, "538 MB"],
  [999_600, "1.00 MB"],
])("bytes %s", (value, shown) => expect(plain(bytes(value))).toBe(shown));
it.each([
  [0.042, "42 ms"],
  [4.2, "4.2 s"],
  [59.6, "1 min 00 s"],
  [200, "3 min 20 s"],
  [7500, "2 h 05 min"],
  [7199, "2 h 00 min"],
  [100_000, "1 d 4 h"],
])("duration %s", (value, shown) => expect(plain(duration(value))).toBe(shown));
it.each([
  [0.1234, "12.3%"],
  [1, "100%"],
  [0.9999, "100%"],
  [0.00512, "0.51%"],
  [0, "0%"],
])("percent %s", (value, shown) => expect(plain(percent(value))).toBe(shown));
it("reads timestamps without a zone as UTC", () =>
  expect(parseTime("2026-01-02T03:04:05").toISOString()).toBe("2026-01-02T03:04:05.000Z"));
it("says how long ago", () => {
  const now = new Date("2026-01-02T00:00:00Z");
  expect(plain(ago(new Date("2026-01-01T23:56:00Z"), now))).toBe("4 min ago");
  expect(plain(ago(new Date("2026-01-02T02:00:00Z"), now))).toBe("in 2 h");
});
