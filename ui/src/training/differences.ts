/** Where runs differ in their settings: what they are grouped and told apart by. */
import type { Training } from "./form";
import { hookWords, settingWords } from "./words";

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
    const values = flats.map((flat) => settingWords(path, flat.get(path)));
    if (new Set(values).size > 1) found.set(path, values);
  }
  return found;
}

/**
 * What runs beside one another are called: without the words at their beginning that all share, hook points in short.
 * Runs of one name are told apart by where they read, else by their order.
 */
export function shortNames(runs: Pick<Training, "name" | "hook">[]): string[] {
  const words = runs.map((run) => run.name.split(" "));
  const least = Math.min(...words.map((one) => one.length));
  let shared = 0;
  while (runs.length > 1 && shared < least - 1 && words.every((one) => one[shared] === words[0]?.[shared]))
    shared++;
  const names = words.map((one) => one.slice(shared).map(hookWords).join(" "));
  return names.map((name, place) => {
    const same = [...names.keys()].filter((other) => names[other] === name);
    if (same.length === 1) return name;
    const hooks = new Set(same.map((other) => runs[other]?.hook));
    const which =
      hooks.size === same.length ? hookWords(runs[place]?.hook ?? "") : `no. ${same.indexOf(place) + 1}`;
    return `${name} · ${which}`;
  });
}
