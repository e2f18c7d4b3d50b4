import { describe, expect, it } from "vitest";
import {
  defaultsOf,
  fieldOf,
  type JsonSchema,
  labelOf,
  problemsOf,
  rangeOf,
  resolver,
  switched,
} from "./jsonSchema";

const schema: JsonSchema = {
  $defs: {
    Hub: {
      title: "Hub",
      type: "object",
      properties: {
        kind: { const: "hub", default: "hub", type: "string" },
        repo: { type: "string", pattern: "^[\\w.\\-]+(/[\\w.\\-]+)?$", maxLength: 20 },
      },
      required: ["repo"],
    },
    Folder: {
      title: "Folder",
      type: "object",
      properties: { kind: { const: "folder", type: "string" }, path: { type: "string", minLength: 1 } },
      required: ["path"],
    },
    Options: {
      type: "object",
      properties: {
        context_length: { type: "integer", minimum: 2, maximum: 100, default: 64 },
        rate: { type: "number", exclusiveMinimum: 0, default: 0.001 },
        bos: { anyOf: [{ type: "boolean" }, { const: "auto", type: "string" }], default: "auto" },
        rows: { anyOf: [{ type: "integer", minimum: 1 }, { type: "null" }], default: null },
      },
    },
  },
  type: "object",
  properties: {
    source: {
      oneOf: [{ $ref: "#/$defs/Hub" }, { $ref: "#/$defs/Folder" }],
      discriminator: { propertyName: "kind", mapping: { hub: "#/$defs/Hub", folder: "#/$defs/Folder" } },
    },
    settings: { $ref: "#/$defs/Options" },
    name: { anyOf: [{ type: "string", minLength: 1 }, { type: "null" }], default: null },
    hooks: { type: "array", items: { type: "string" }, minItems: 1 },
  },
  required: ["source", "hooks"],
};
const resolve = resolver(schema);
const good = { source: { kind: "hub", repo: "a/b" }, settings: { context_length: 64 }, hooks: ["h"] };

describe("jsonSchema", () => {
  it("fills in every default, through references and unions", () => {
    expect(defaultsOf(schema, resolve)).toEqual({
      source: { kind: "hub" },
      settings: { context_length: 64, rate: 0.001, bos: "auto", rows: null },
      name: null,
    });
  });

  it("passes what the server takes", () => expect(problemsOf(schema, good, resolve)).toEqual({}));

  it.each([
    [{ ...good, hooks: [] }, "hooks", "At least 1."],
    [{ ...good, hooks: undefined }, "hooks", "Needed."],
    [{ ...good, source: { kind: "hub", repo: "" } }, "source.repo", "Needed."],
    [{ ...good, source: { kind: "folder", path: "" } }, "source.path", "Needed."],
    [{ ...good, source: { kind: "hub", repo: "a b" } }, "source.repo", "Does not fit"],
    [{ ...good, settings: { context_length: 1 } }, "settings.context_length", "Must be 2 to 100."],
    [{ ...good, settings: { context_length: 2.5 } }, "settings.context_length", "whole number"],
    [{ ...good, settings: { rate: 0 } }, "settings.rate", "more than 0"],
    [{ ...good, settings: { rate: "abc" } }, "settings.rate", "a number"],
    [{ ...good, settings: { bos: "never" } }, "settings.bos", "One of"],
    [{ ...good, settings: { rows: 0 } }, "settings.rows", "at least 1"],
  ])("refuses %j at %s", (value, path, words) => {
    expect(problemsOf(schema, value, resolve)[path]).toContain(words);
  });

  it("reads “true, false or auto” as a choice", () => {
    const field = fieldOf(schema.$defs?.Options?.properties?.bos as JsonSchema, resolve);
    expect(field.kind).toBe("choice");
    expect(field.choices).toEqual([true, false, "auto"]);
  });

  it("names ranges and fields", () => {
    expect(rangeOf({ exclusiveMinimum: 0, maximum: 1 })).toBe("more than 0, at most 1");
    expect(labelOf("context_length", { title: "Context Length" })).toBe("Context length");
    expect(labelOf("model_id", { title: "Model Id" })).toBe("Model");
    expect(labelOf("k", { title: "Active latents" })).toBe("Active latents");
  });
});

describe("switched", () => {
  const tagged = (properties: Record<string, JsonSchema>, name: string): JsonSchema => ({
    type: "object",
    properties: { kind: { const: name, type: "string" }, ...properties },
  });
  const from = {
    name: "jump",
    schema: tagged(
      {
        k: { type: "integer", minimum: 1, default: 32 },
        penalty: { enum: ["l0", "tanh"], type: "string", default: "l0" },
        scale: { type: "number", default: 4 },
      },
      "jump",
    ),
  };
  const to = {
    name: "standard",
    schema: tagged(
      {
        k: { type: "integer", minimum: 1, maximum: 64, default: 16 },
        penalty: { enum: ["l1", "tanh"], type: "string", default: "l1" },
        scale: { type: "number", default: 1 },
      },
      "standard",
    ),
  };
  const change = (value: Record<string, unknown>) => switched(from, to, "kind", value, resolve);

  it("takes the new kind's defaults where nothing was changed", () =>
    expect(change({ kind: "jump", k: 32, penalty: "l0", scale: 4 })).toEqual({
      kind: "standard",
      k: 16,
      penalty: "l1",
      scale: 1,
    }));

  it("keeps what was typed where the new kind takes it", () => {
    expect(change({ kind: "jump", k: 8, penalty: "tanh", scale: 2 })).toEqual({
      kind: "standard",
      k: 8,
      penalty: "tanh",
      scale: 2,
    });
    expect(change({ kind: "jump", k: 100, penalty: "l0", scale: 4 }).k).toBe(16);
  });
});

describe("lists of numbers", () => {
  const list: JsonSchema = {
    type: "object",
    properties: { shares: { type: "array", items: { type: "number" }, maxItems: 3 } },
  };
  it("are refused while a part is no number", () => {
    expect(problemsOf(list, { shares: [0.5, Number.NaN] }, resolve).shares).toMatch("numbers");
    expect(problemsOf(list, { shares: [0.5, 0.25] }, resolve)).toEqual({});
  });
});
