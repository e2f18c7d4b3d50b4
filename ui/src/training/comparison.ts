/** Runs side by side, as the server compares them. */
import type { components } from "@/api/schema";
import { format } from "@/kit";
import { architectureName } from "@/saes/architectures";
import { hookWords } from "./differences";
import { shortTitle, type Value } from "./runs";

export type Comparison = components["schemas"]["Comparison"];
export type ComparedFigure = Comparison["figures"][number];
export type ComparedSetting = Comparison["settings"][number];

/** A figure by its name, preferring what was measured on held-out tokens. */
export function figureOf(data: Comparison, name: string): ComparedFigure | undefined {
  const held = data.figures.find((figure) => figure.name === `held_out.${name}`);
  const last = data.figures.find((figure) => figure.name === name || figure.name === `metric.${name}`);
  // What some of them lack is no ground to compare all on.
  return held?.values.every((value, place) => value !== null || last?.values[place] == null)
    ? held
    : (last ?? held);
}

/** "FVU", "FVU, held out". */
export function figureTitle(figure: ComparedFigure): string {
  return figure.group === "On held-out tokens" ? `${shortTitle(figure)}, held out` : shortTitle(figure);
}

/** The figures that tell most, of those that there are. */
export const USUAL_FIGURES = [
  "fvu",
  "l0",
  "explained_variance",
  "ce_loss_score",
  "dead_fraction",
  "dense_fraction",
  "tokens_per_second",
];

export function valueWords(name: string, value: Value | undefined): string {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (name === "architecture") return architectureName(String(value));
  if (name === "hook") return hookWords(String(value));
  return typeof value === "number" ? format.figure(value) : value;
}
