/** The axes of parallel coordinates: where a run stands on each, and which part of each is chosen. */
import { scale } from "@/kit/chart/scale";
import type { Value } from "./runs";

export interface ParallelAxis {
  name: string;
  title: string;
  /** By run, from 0 at the bottom to 1 at the top; null where it has no value. */
  places: (number | null)[];
  ticks: { at: number; text: string }[];
  words: (value: Value | undefined) => string;
}

export type Span = [low: number, high: number];

/** Numbers stand on a scale (logarithmic where they span a hundredfold), words in the order of the alphabet. */
export function axisOf(
  name: string,
  title: string,
  values: (Value | undefined)[],
  words: (value: Value | undefined) => string,
): ParallelAxis {
  const known = values.flatMap((value) => (value === null || value === undefined ? [] : [value]));
  const numbers = known.flatMap((value) => (typeof value === "number" ? [value] : []));
  const kinds = new Set(numbers);
  if (numbers.length === known.length && kinds.size > 0) {
    const wide = Math.max(...numbers) / Math.min(...numbers) >= 20;
    const map = scale(numbers, [0, 1], wide);
    // A few values that were tried are the best ticks.
    const ticks = kinds.size <= 6 ? [...kinds] : map.ticks;
    return {
      name,
      title,
      places: values.map((value) => (typeof value === "number" ? map(value) : null)),
      words,
      ticks: apart(ticks.map((tick) => ({ at: map(tick), text: words(tick) }))),
    };
  }
  const texts = [...new Set(known.map(words))].toSorted();
  const at = (text: string) =>
    texts.length === 1 ? 0.5 : 0.04 + (0.92 * texts.indexOf(text)) / (texts.length - 1);
  return {
    name,
    title,
    places: values.map((value) => (value === null || value === undefined ? null : at(words(value)))),
    words,
    ticks: texts.map((text) => ({ at: at(text), text })),
  };
}

/** Ticks without those that would lie upon another. */
function apart(ticks: { at: number; text: string }[]): { at: number; text: string }[] {
  const kept: { at: number; text: string }[] = [];
  for (const tick of ticks.toSorted((one, other) => one.at - other.at)) {
    const last = kept.at(-1);
    if (!last || tick.at - last.at > 0.045) kept.push(tick);
  }
  return kept;
}

/** Which runs lie within all chosen parts; on a chosen axis a run without a value lies outside. */
export function within(axes: ParallelAxis[], spans: ReadonlyMap<string, Span>, runs: number): boolean[] {
  return Array.from({ length: runs }, (_, run) =>
    axes.every((axis) => {
      const span = spans.get(axis.name);
      const place = axis.places[run];
      return !span || (place != null && place >= span[0] && place <= span[1]);
    }),
  );
}

/** "fvu:0.1~0.5;k:0~0.2": chosen parts as they stand in the address. */
export function spansText(spans: ReadonlyMap<string, Span>): string {
  return [...spans]
    .map(([name, span]) => `${name}:${span.map((end) => Number(end.toFixed(3))).join("~")}`)
    .join(";");
}

export function spansOf(text: string): Map<string, Span> {
  const found = new Map<string, Span>();
  for (const part of text.split(";")) {
    const [, name, low, high] = /^([\w.]+):([\d.]+)~([\d.]+)$/.exec(part) ?? [];
    if (name && Number(low) <= Number(high)) found.set(name, [Number(low), Number(high)]);
  }
  return found;
}
