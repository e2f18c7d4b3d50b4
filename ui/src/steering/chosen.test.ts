import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Chosen, readChosen, writeChosen } from "./chosen";

const chosen = fc.record({
  sae: fc.stringMatching(/^sa_[a-z0-9]{4,16}$/),
  index: fc.nat(100_000),
  strength: fc.integer({ min: -100, max: 100 }).map((tenths) => tenths / 10),
  mode: fc.constantFrom("add" as const, "clamp" as const),
});

describe("features in the address", () => {
  it("come back as they were", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(chosen, { selector: (one) => `${one.sae}~${one.index}` }),
        (features: Chosen[]) => {
          expect(readChosen(writeChosen(features))).toEqual(features);
        },
      ),
    );
  });

  it("are left out when they make no sense, and named once", () => {
    expect(readChosen("")).toEqual([]);
    expect(readChosen("sa_a~1~x~add!sa_a~-1~1~add!sa_a~1~1~multiply!~1~1~add")).toEqual([]);
    expect(readChosen("sa_a~1~1~add!sa_a~1~2~clamp")).toEqual([
      { sae: "sa_a", index: 1, strength: 2, mode: "clamp" },
    ]);
  });
});
