import { describe, expect, it } from "vitest";
import { append, type Known, keep, type ModelRequest, newestFirst } from "./playground";

const piece = (id: number) => ({ id, text: `t${id}`, logprob: -1, alternatives: [] });

const request = (id: string, tokens: number, more: Partial<ModelRequest> = {}): ModelRequest =>
  ({
    id,
    model_id: "md_1",
    kind: "generate",
    request: { prompt: "x" },
    state: "writing",
    generation: {
      prompt_tokens: [],
      tokens: Array.from({ length: tokens }, (_, index) => piece(index)),
      text: Array.from({ length: tokens }, (_, index) => `t${index}`).join(""),
      finish: null,
    },
    lens: null,
    error: null,
    created_at: `2026-01-01T00:00:0${id.length}Z`,
    started_at: null,
    finished_at: null,
    ...more,
  }) as ModelRequest;

const of = (...all: ModelRequest[]): Known => new Map(all.map((one) => [one.id, one]));

describe("what streams in", () => {
  it("adds tokens once, also when they overlap with what is there", () => {
    const known = of(request("a", 2));
    const next = append(known, { request: "a", start: 1, tokens: [piece(1), piece(2)], finish: "length" });
    expect(next?.get("a")?.generation?.tokens?.map((one) => one.id)).toEqual([0, 1, 2]);
    expect(next?.get("a")?.generation?.text).toBe("t0t1t2");
    expect(next?.get("a")?.generation?.finish).toBe("length");
  });

  it("says when something is missing before it", () => {
    expect(
      append(of(request("a", 1)), { request: "a", start: 3, tokens: [piece(3)], finish: null }),
    ).toBeNull();
    expect(append(of(), { request: "a", start: 0, tokens: [], finish: null })).toBeNull();
  });

  it("does not let a lagging copy take tokens away, nor anything reopen what is finished", () => {
    const known = of(request("a", 5));
    expect(keep(known, [request("a", 2)]).get("a")?.generation?.tokens).toHaveLength(5);
    const done = of(request("a", 5, { state: "done", finished_at: "2026-01-01T00:00:09Z" }));
    expect(keep(done, [request("a", 2)]).get("a")?.state).toBe("done");
  });

  it("keeps a grid that an event comes without, and orders by time", () => {
    const grid = { hooks: ["blocks.0.hook_resid_pre"] } as unknown as NonNullable<ModelRequest["lens"]>;
    const done = { state: "done", finished_at: "2026-01-01T00:00:09Z" } as const;
    const known = of(request("a", 0, { ...done, lens: grid }), request("bb", 0));
    expect(keep(known, [request("a", 0, done)]).get("a")?.lens).toBe(grid);
    expect(newestFirst(known).map((one) => one.id)).toEqual(["bb", "a"]);
  });
});
