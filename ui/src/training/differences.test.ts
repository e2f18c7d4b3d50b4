import { describe, expect, it } from "vitest";
import { differingSettings, shortNames } from "./differences";
import { panelsOf } from "./panels";

describe("runs beside one another", () => {
  it("are told apart by the settings in which they differ", () => {
    const run = (hook: string, k: number, seed: number | null) =>
      ({ hook, config: { d_sae: 64, seed, architecture: { kind: "topk", k } } }) as never;
    const found = differingSettings([run("a", 8, null), run("a", 16, 0)]);
    expect([...found]).toEqual([
      ["seed", ["not set", "0"]],
      ["architecture.k", ["8", "16"]],
    ]);
    expect(differingSettings([run("a", 8, 1), run("b", 8, 1)]).get("hook")).toEqual(["a", "b"]);
  });

  it("are called by what is not the same in all names", () => {
    expect(shortNames(["s · h · k=8", "s · h · k=16"])).toEqual(["k=8", "k=16"]);
    expect(shortNames(["same", "same"])).toEqual(["same", "same"]);
    expect(shortNames(["only one"])).toEqual(["only one"]);
    const names = ["s · blocks.6.hook_resid_post · k=8", "s · blocks.7.attn.hook_z · k=8"];
    expect(shortNames(names)).toEqual(["6.resid_post · k=8", "7.attn.z · k=8"]);
  });

  it("have a chart for each column, whatever is recorded", () => {
    const columns = ["step", "tokens", "time", "elapsed", "loss", "l1_loss", "fvu", "own"];
    const one = panelsOf(columns, false);
    expect(one.map((panel) => panel.columns)).toEqual([["fvu"], ["loss", "l1_loss"], ["own"]]);
    const several = panelsOf(columns, true);
    expect(several.map((panel) => panel.id)).toEqual(["fvu", "loss", "l1_loss", "own"]);
  });
});
