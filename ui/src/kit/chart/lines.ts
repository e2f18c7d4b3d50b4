/** From runs' points to what one chart draws. */
import type { Span } from "./group";
import type { PointLog } from "./pointLog";
import { type Grid, gridX, lowerBound, meanOf, smooth, smoothingScale, thin } from "./thin";

/** One curve: a column of a run. */
export interface Line {
  id: string;
  label: string;
  points: PointLog;
  column: string;
  /** Place in the palette. */
  colour: number;
  /** The run that it belongs to: lit and hidden together in all charts. */
  run: string;
  /** Runs of one group are drawn as their mean, with a band of ± one standard deviation. */
  group?: { name: string; colour: number };
}

/** Something that happened to a run, drawn as a mark. */
export interface Mark {
  points: PointLog;
  step: number;
  time: number;
  text: string;
  run: string;
  colour: number;
}

export type Axis = "step" | "tokens" | "time" | "elapsed";

/** One of the series that are drawn, over `Drawing.x`. */
export interface Trace {
  label: string;
  colour: number;
  run: string | null;
  /** `raw`: the unsmoothed course behind a smoothed one. `low` and `high` bound a band. */
  kind: "line" | "raw" | "low" | "high";
  y: (number | null)[];
}

export interface Drawing {
  span: Span;
  x: number[];
  traces: Trace[];
}

/** More lines than these are drawn in columns of two pixels. */
const MANY = 3;

interface Options {
  axis: Axis;
  logX: boolean;
  logY: boolean;
  /** 0…1 */
  smoothing: number;
  zoom: Span | null;
  /** Width of the plot in pixels. */
  width: number;
}

/** All that the lines cover; null while there are no points. */
export function extentOf(lines: Line[], axis: Axis, logX: boolean): Span | null {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { points } of lines) {
    const x = points.column(axis);
    if (!x || x.length === 0) continue;
    let first = 0;
    while (logX && first < x.length && (x[first] as number) <= 0) first++;
    if (first < x.length) low = Math.min(low, x[first] as number);
    high = Math.max(high, x[x.length - 1] as number);
  }
  if (low > high) return null;
  if (low < high) return [low, high];
  return logX ? [low / 2, low * 2] : [low - 0.5, low + 0.5];
}

const smoothed = new WeakMap<
  PointLog,
  Map<string, { version: number; scale: number; values: Float64Array }>
>();

/** A column smoothed over `scale` units of the axis; computed once for all charts until points arrive. */
export function smoothColumn(
  points: PointLog,
  column: string,
  axis: Axis,
  scale: number,
): Float64Array | undefined {
  const [x, y] = [points.column(axis), points.column(column)];
  if (!x || !y) return undefined;
  const kept = smoothed.get(points) ?? new Map();
  smoothed.set(points, kept);
  const key = `${axis} ${column}`;
  const known = kept.get(key);
  if (known?.version === points.version && known.scale === scale) return known.values;
  const values = smooth(x, y, scale);
  kept.set(key, { version: points.version, scale, values });
  return values;
}

/** What is drawn of these lines; null while there is nothing. */
export function drawingOf(lines: Line[], options: Options): Drawing | null {
  const { axis, logX, logY, smoothing, zoom, width } = options;
  const extent = extentOf(lines, axis, logX);
  if (!extent) return null;
  const span = zoom ?? extent;
  // Many lines over one another show no more in columns of a single pixel, and take twice as long.
  const buckets = Math.max(8, Math.round(width / (lines.length > MANY ? 2 : 1)));
  const grid: Grid = { low: span[0], high: span[1], buckets, log: logX };
  const scale = smoothingScale(smoothing, extent[1] - extent[0]);
  const traces: Trace[] = [];
  const groups = new Map<string, { colour: number; curves: (number | null)[][] }>();
  for (const line of lines) {
    const [x, y] = [line.points.column(axis), line.points.column(line.column)];
    if (!x || !y) continue;
    const course = scale > 0 ? (smoothColumn(line.points, line.column, axis, scale) ?? y) : y;
    const main = thin(x, course, grid, logY);
    if (line.group) {
      const group = groups.get(line.group.name) ?? { colour: line.group.colour, curves: [] };
      group.curves.push(main);
      groups.set(line.group.name, group);
      continue;
    }
    const { label, colour, run } = line;
    if (scale > 0) traces.push({ label, colour, run, kind: "raw", y: thin(x, y, grid, logY) });
    traces.push({ label, colour, run, kind: "line", y: main });
  }
  for (const [name, { colour, curves }] of groups) {
    const { mean, low, high } = meanOf(curves);
    const bound = (values: (number | null)[]) =>
      logY ? values.map((value) => (value !== null && value <= 0 ? null : value)) : values;
    traces.push({ label: name, colour, run: null, kind: "high", y: bound(high) });
    traces.push({ label: name, colour, run: null, kind: "low", y: bound(low) });
    traces.push({ label: name, colour, run: null, kind: "line", y: mean });
  }
  return { span, x: gridX(grid), traces };
}

/** Where on the axis a mark stands. */
export function markAt(mark: Mark, axis: Axis): number | null {
  if (axis === "step") return mark.step;
  if (axis === "time") return mark.time;
  const [steps, x] = [mark.points.column("step"), mark.points.column(axis)];
  if (!steps || !x || steps.length === 0) return null;
  return x[Math.min(lowerBound(steps, mark.step), x.length - 1)] as number;
}
