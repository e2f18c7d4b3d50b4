/** The values of every line at the crosshair. */
import { type Axis, type Line, smoothColumn } from "./lines";
import { meanOf, nearest, smoothingScale } from "./thin";

export interface Reading {
  id: string;
  label: string;
  colour: number;
  /** Where the point that is read stands on the axis. */
  at: number;
  value: number;
  smoothed: number | null;
  /** Of a group: its standard deviation and number of runs. */
  spread?: number;
  runs?: number;
}

/** Of each line its measured point nearest to `at` (null: its newest), in the lines' order; groups as one. */
export function readingsAt(
  lines: Line[],
  axis: Axis,
  at: number | null,
  smoothing: number,
  length: number,
): Reading[] {
  const single: Reading[] = [];
  const groups = new Map<string, Reading[]>();
  for (const line of lines) {
    const [x, y] = [line.points.column(axis), line.points.column(line.column)];
    if (!x || !y) continue;
    const index = nearest(x, y, at ?? Number.POSITIVE_INFINITY);
    if (index < 0) continue;
    const scale = smoothingScale(smoothing, length);
    const course = scale > 0 ? smoothColumn(line.points, line.column, axis, scale) : undefined;
    const reading: Reading = {
      id: line.id,
      label: line.label,
      colour: line.colour,
      at: x[index] as number,
      value: y[index] as number,
      smoothed: course ? (course[index] as number) : null,
    };
    if (!line.group) single.push(reading);
    else {
      reading.colour = line.group.colour;
      groups.set(line.group.name, [...(groups.get(line.group.name) ?? []), reading]);
    }
  }
  for (const [name, all] of groups) {
    const { mean, low } = meanOf(all.map((one) => [one.value]));
    const [middle, bottom] = [mean[0] as number, low[0] as number];
    const [first] = all as [Reading];
    single.push({
      ...first,
      id: name,
      label: name,
      value: middle,
      smoothed: null,
      spread: middle - bottom,
      runs: all.length,
    });
  }
  return single;
}
