/** Metric points as columns of equal length, among them `step`, `tokens` and `time`. */
export type Columns = Record<string, (number | null)[]>;

const lengthOf = (columns: Columns) => columns.step?.length ?? 0;
const lastStep = (columns: Columns) => columns.step?.at(-1) ?? 0;

/** The part of `columns` after a step. */
export function after(columns: Columns, step: number): Columns {
  const from = columns.step?.findIndex((one) => (one ?? 0) > step) ?? -1;
  if (from < 0) return {};
  return from === 0
    ? columns
    : Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values.slice(from)]));
}

/** `older`, then what of `newer` comes after it. A column that only one of them has is filled with gaps. */
export function join(older: Columns, newer: Columns): Columns {
  const rest = after(newer, lastStep(older));
  if (lengthOf(rest) === 0) return older;
  if (lengthOf(older) === 0) return rest;
  const gaps = (columns: Columns) => Array<null>(lengthOf(columns)).fill(null);
  const names = new Set([...Object.keys(older), ...Object.keys(rest)]);
  return Object.fromEntries(
    [...names].map((name) => [name, [...(older[name] ?? gaps(older)), ...(rest[name] ?? gaps(rest))]]),
  );
}

/**
 * Whether `event` goes back behind what is known: the run went on from a checkpoint, so the points after it are
 * written anew and those that are shown no longer hold.
 */
export function goesBack(known: Columns, event: Columns): boolean {
  const first = event.step?.[0];
  return first !== undefined && first !== null && lengthOf(known) > 0 && first <= lastStep(known);
}
