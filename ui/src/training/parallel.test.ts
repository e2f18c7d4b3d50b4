import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { axisOf, spansOf, spansText, within } from "./parallel";

const words = (value: unknown) => String(value);

describe("parallel coordinates", () => {
  it("order numbers as numbers and keep what is missing missing", () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.double({ min: 1e-6, max: 1e6, noNaN: true }))), (values) => {
        const axis = axisOf("x", "X", values, words);
        for (const [run, value] of values.entries()) {
          const place = axis.places[run];
          if (value === null) expect(place).toBeNull();
          else expect(place).toBeGreaterThanOrEqual(0);
          for (const [other, than] of values.entries())
            if (value !== null && than !== null && value < than)
              expect(place).toBeLessThanOrEqual(axis.places[other] as number);
        }
      }),
    );
  });

  it("choose the runs that lie in every chosen part", () => {
    const k = axisOf("k", "k", [16, 32, 64, null], words);
    const kind = axisOf("architecture", "Architecture", ["topk", "jump_relu", "topk", "topk"], words);
    const at = (run: number) => k.places[run] as number;
    const spans = spansOf(`k:${at(1)}~1;architecture:0.5~1`);
    expect(within([k, kind], spans, 4)).toEqual([false, false, true, false]);
    expect(within([k, kind], new Map(), 4)).toEqual([true, true, true, true]);
    expect(spansOf(spansText(new Map([["held_out.fvu", [0.25, 0.5]]])))).toEqual(
      new Map([["held_out.fvu", [0.25, 0.5]]]),
    );
    expect(spansOf("k:1~0;nonsense")).toEqual(new Map());
  });
});
