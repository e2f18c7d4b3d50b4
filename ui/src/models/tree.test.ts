import { describe, expect, it } from "vitest";
import { depthOf, firstOpen, type ModuleNode, visibleRows } from "./tree";

const node = (name: string, path: string, more: Partial<ModuleNode> = {}): ModuleNode => ({
  name,
  path,
  kind: "Module",
  parameters: 1,
  shapes: {},
  tied: [],
  hooks: [],
  last: null,
  children: [],
  ...more,
});

const tree = node("", "", {
  children: [
    node("model", "model", {
      children: [
        node("layers", "model.layers", {
          children: [
            node("0", "model.layers.0", {
              last: 11,
              hooks: [{ name: "blocks.0.hook_resid_pre", kind: "resid_pre", side: "in", d: 8 }],
              children: [
                node("mlp", "model.layers.0.mlp", {
                  children: [node("act", "model.layers.0.mlp.act")],
                }),
              ],
            }),
            node("12", "model.layers.12", {
              hooks: [{ name: "blocks.12.hook_resid_pre", kind: "resid_pre", side: "in", d: 8 }],
            }),
          ],
        }),
      ],
    }),
    node("lm_head", "lm_head"),
  ],
});

describe("the tree of modules", () => {
  it("shows blocks and what they are made of at first, and nothing deeper", () => {
    const names = visibleRows(tree, firstOpen(tree), 0).map((row) => row.name);
    expect(names).toEqual(["", "model", "layers", "0–11", "mlp", "12", "lm_head"]);
  });

  it("names hook points and modules of the chosen layer", () => {
    const open = new Set([...firstOpen(tree), "model.layers.0.mlp"]);
    const rows = visibleRows(tree, open, 7);
    const block = rows.find((row) => row.name === "0–11");
    expect(block?.path).toBe("model.layers.7");
    expect(block?.hooks[0]?.name).toBe("blocks.7.hook_resid_pre");
    expect(rows.find((row) => row.name === "act")?.path).toBe("model.layers.7.mlp.act");
    expect(rows.find((row) => row.name === "12")?.hooks[0]?.name).toBe("blocks.12.hook_resid_pre");
  });

  it("keeps a layer that equal blocks do not have within them", () => {
    const block = visibleRows(tree, firstOpen(tree), 99).find((row) => row.name === "0–11");
    expect(block?.path).toBe("model.layers.11");
    expect(depthOf(tree)).toBe(12);
  });

  it("does not take layer 1 for the beginning of layer 12", () => {
    const long = node("", "", {
      children: [
        node("h", "h", { children: [node("1", "h.1", { last: 3, children: [node("a", "h.1.a")] })] }),
      ],
    });
    const open = new Set(["", "h", "h.1"]);
    expect(visibleRows(long, open, 2).map((row) => row.path)).toEqual(["", "h", "h.2", "h.2.a"]);
  });
});
