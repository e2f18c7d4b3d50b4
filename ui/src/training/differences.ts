/** Where runs differ in their settings: what they are grouped and told apart by. */
import type { Training } from "./form";

type Flat = Map<string, unknown>;

/** Settings by their path, such as `architecture.k`. */
export function flatten(value: unknown, path = "", into: Flat = new Map()): Flat {
  if (value !== null && typeof value === "object" && !Array.isArray(value))
    for (const [name, inner] of Object.entries(value)) flatten(inner, path ? `${path}.${name}` : name, into);
  else into.set(path, value);
  return into;
}

/** Of each setting that not all runs share, its value in each run, as words; the hook point among them. */
export function differingSettings(runs: Pick<Training, "hook" | "config">[]): Map<string, string[]> {
  const flats = runs.map((run) => new Map([["hook", run.hook], ...flatten(run.config)]));
  const found = new Map<string, string[]>();
  for (const path of new Set(flats.flatMap((flat) => [...flat.keys()]))) {
    const values = flats.map((flat) => settingWords(flat.get(path)));
    if (new Set(values).size > 1) found.set(path, values);
  }
  return found;
}

export function settingWords(value: unknown): string {
  if (value === undefined) return "–";
  if (value === null) return "not set";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** A hook point where there is little room: "6.resid_post" for "blocks.6.hook_resid_post". */
export const hookWords = (hook: string) => hook.replace(/^blocks\.(.*?)hook_/, "$1");

/** Names without the words at their beginning that all of them share, hook points in short. */
export function shortNames(names: string[]): string[] {
  const words = names.map((name) => name.split(" "));
  const least = Math.min(...words.map((one) => one.length));
  let shared = 0;
  while (names.length > 1 && shared < least - 1 && words.every((one) => one[shared] === words[0]?.[shared]))
    shared++;
  return words.map((one) => one.slice(shared).map(hookWords).join(" "));
}
