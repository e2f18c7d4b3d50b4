/** Runs side by side, as the server compares them. */
import type { components } from "@/api/schema";
import { shortTitle, type Value } from "./runs";
import { settingWords } from "./words";

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

/**
 * The settings by which runs are best told apart, at most so many: those that have several values rather than one
 * that only some runs know, and of these first what people usually vary.
 */
export function telling(data: Comparison, most: number): ComparedSetting[] {
  const rank = (setting: ComparedSetting) => {
    const known = setting.values.filter((value) => value !== null);
    const usual = VARIED.indexOf(setting.name);
    return (
      (new Set(known.map(String)).size > 1 ? 0 : 1000) +
      (usual < 0 ? VARIED.length : usual) +
      // What few of them have tells little of the others.
      (known.length * 2 < setting.values.length ? VARIED.length : 0)
    );
  };
  const chosen = data.settings.toSorted((one, other) => rank(one) - rank(other)).slice(0, most);
  return data.settings.filter((setting) => chosen.includes(setting));
}

/** What is varied most, in the order in which one reads it. */
const VARIED = [
  "architecture",
  "k",
  "target_l0",
  "l1_coefficient",
  "sparsity_coefficient",
  "d_sae",
  "hook",
  "learning_rate",
  "model",
  "batch_size",
  "total_tokens",
  "optimizer",
  "seed",
];

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

/** A setting's value in a comparison, where a run may have no such setting. */
export const comparedWords = (name: string, value: Value | undefined): string =>
  value === null || value === undefined ? "–" : settingWords(name, value);
