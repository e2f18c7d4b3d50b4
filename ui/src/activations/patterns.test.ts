import { describe, expect, it } from "vitest";
import { patternsOf } from "./patterns";

const post = (layer: number) => `blocks.${layer}.hook_resid_post`;

describe("patterns of hook points", () => {
  it("writes every layer, every third, and a range", () => {
    expect(patternsOf([0, 1, 2, 3].map(post), 4)).toEqual(["blocks.*.hook_resid_post"]);
    expect(patternsOf([0, 3, 6, 9].map(post), 12)).toEqual(["blocks.*/3.hook_resid_post"]);
    expect(patternsOf([0, 3, 6].map(post), 12)).toEqual(["blocks.0-6/3.hook_resid_post"]);
    expect(patternsOf([2, 3, 4].map(post), 12)).toEqual(["blocks.2-4.hook_resid_post"]);
  });

  it("keeps single ones, uneven ones and modules", () => {
    expect(patternsOf([post(6)], 12)).toEqual([post(6)]);
    expect(patternsOf([post(1), post(2), post(5)], 12)).toEqual([post(1), post(2), post(5)]);
    expect(patternsOf(["model.layers.3.mlp", post(0)], 1)).toEqual(["model.layers.3.mlp", post(0)]);
  });

  it("takes kinds apart and forgets the order and doubles", () => {
    expect(patternsOf([post(1), "blocks.0.attn.hook_z", post(0), post(1)], 2)).toEqual([
      "blocks.*.hook_resid_post",
      "blocks.0.attn.hook_z",
    ]);
  });
});
