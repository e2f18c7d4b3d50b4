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
    const names = (...all: string[]) => shortNames(all.map((name) => ({ name, hook: "x" })));
    expect(names("s · h · k=8", "s · h · k=16")).toEqual(["k=8", "k=16"]);
    expect(names("only one")).toEqual(["only one"]);
    expect(names("s · blocks.6.hook_resid_post · k=8", "s · blocks.7.attn.hook_z · k=8")).toEqual([
      "6.resid_post · k=8",
      "7.attn.z · k=8",
    ]);
    const same = (...hooks: string[]) => shortNames(hooks.map((hook) => ({ name: "same", hook })));
    expect(same("blocks.1.hook_mlp_out", "blocks.2.hook_mlp_out")).toEqual([
      "same · 1.mlp_out",
      "same · 2.mlp_out",
    ]);
    expect(same("x", "x")).toEqual(["same · no. 1", "same · no. 2"]);
  });

  it("have a chart for each column, whatever is recorded", () => {
    const columns = ["step", "tokens", "time", "elapsed", "loss", "l1_loss", "fvu", "own"];
    const one = panelsOf(columns, false);
    expect(one.map((panel) => panel.columns)).toEqual([["fvu"], ["loss", "l1_loss"], ["own"]]);
    const several = panelsOf(columns, true);
    expect(several.map((panel) => panel.id)).toEqual(["fvu", "loss", "l1_loss", "own"]);
  });
});
