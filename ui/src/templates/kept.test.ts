import { expect, test } from "vitest";
import type { JsonSchema } from "@/kit/jsonSchema";
import { keptSettings } from "./kept";

const form: JsonSchema = {
  properties: {
    config: { $ref: "#/$defs/Config" },
    harvest: { allOf: [{ $ref: "#/$defs/Harvest" }], title: "Which activations count" },
    grid: { type: "object", title: "Grid" },
  },
  $defs: {
    Config: {
      properties: {
        architecture: {
          title: "Architecture",
          default: { kind: "topk" },
          discriminator: { propertyName: "kind" },
          oneOf: [{ $ref: "#/$defs/TopK" }],
        },
        d_sae: { type: "integer", title: "Width of the dictionary", default: 8192, unit: "latents" },
        log_every: { type: "integer", title: "Record metrics every", default: 10, unit: "steps" },
      },
    },
    TopK: {
      properties: {
        kind: { const: "topk" },
        aux_k: { type: "integer", title: "AuxK latents", default: 256, advanced: true },
        k: { type: "integer", title: "Active latents (k)", default: 32 },
      },
    },
    Harvest: { properties: { seed: { type: "integer", title: "Order", default: 0 } } },
  },
};

test("settings are told in the words of the form, those that the grid tries once", () => {
  const kept = {
    config: { architecture: { kind: "topk", aux_k: 256, k: 32 }, d_sae: 4608, log_every: 10 },
    harvest: { seed: 3 },
    grid: { d_sae: [4608, 9216] },
  };
  const told = keptSettings(form, kept).map((group) => [
    group.title,
    group.settings.filter((one) => !one.usual).map((one) => `${one.label}: ${one.words}`),
  ]);
  expect(told).toEqual([
    [null, ["Architecture: TopK", "Active latents (k): 32"]],
    ["Which activations count", ["Order: 3"]],
    [
      "Grid: one SAE for each combination",
      [expect.stringMatching(/^Width of the dictionary: 4.?608, 9.?216$/)],
    ],
  ]);
});

test("what a template tries is called as the form calls it, also where the template says nothing else of it", () => {
  const told = keptSettings(form, { config: {}, grid: { d_sae: [1, 2], k: [3], learning_rates: [4] } });
  expect(told.flatMap((group) => group.settings).map((one) => one.label)).toEqual([
    "Width of the dictionary",
    "Active latents (k)",
    "Learning rates",
  ]);
});
