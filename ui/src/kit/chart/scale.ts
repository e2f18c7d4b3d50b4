/** Scales and round ticks of small plots that are drawn as SVG. */

export interface Scale {
  (value: number): number;
  ticks: number[];
  log: boolean;
}

/** Values from low to high onto pixels; logarithmic where asked for and all values are positive. */
export function scale(values: number[], [from, to]: [number, number], wantLog = false): Scale {
  const log = wantLog && values.length > 0 && values.every((value) => value > 0);
  const on = (value: number) => (log ? Math.log10(value) : value);
  const low = values.length > 0 ? Math.min(...values.map(on)) : 0;
  const high = values.length > 0 ? Math.max(...values.map(on)) : 1;
  const margin = (high - low) * 0.06 || Math.abs(high) * 0.05 || 0.5;
  const ends: [number, number] = [low - margin, high + margin];
  const map = (value: number) => from + ((on(value) - ends[0]) / (ends[1] - ends[0])) * (to - from);
  return Object.assign(map, { ticks: log ? logTicks(ends) : linearTicks(ends), log });
}

export function linearTicks([low, high]: [number, number], about = 5): number[] {
  const rough = (high - low) / about;
  if (!(rough > 0)) return [low];
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * unit).find((one) => one >= rough) ?? rough;
  const found: number[] = [];
  for (let n = Math.ceil(low / step); n <= Math.floor(high / step); n++)
    found.push(Number((n * step).toPrecision(12)));
  return found;
}

/** Ticks of a logarithmic axis whose ends are powers of ten. */
function logTicks([low, high]: [number, number]): number[] {
  const inside = (value: number) => value >= 10 ** low && value <= 10 ** high;
  for (const steps of [[1], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]]) {
    const found: number[] = [];
    for (let decade = Math.floor(low); decade <= Math.ceil(high); decade++)
      for (const step of steps) found.push(step * 10 ** decade);
    const shown = found.filter(inside);
    if (shown.length >= 3) return shown;
  }
  return linearTicks([10 ** low, 10 ** high]);
}

/** The points that no other beats: none has a smaller or equal x and a better y. From left to right. */
export function front<T extends { x: number; y: number }>(points: T[], better: "lower" | "higher"): T[] {
  const sign = better === "higher" ? 1 : -1;
  const best: T[] = [];
  for (const point of points.toSorted((one, other) => one.x - other.x || sign * (other.y - one.y))) {
    const last = best.at(-1);
    if (!last || sign * (point.y - last.y) > 0) best.push(point);
  }
  return best;
}
