import { useEffect, useMemo, useRef, useState } from "react";
import "./locale";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useShownTheme } from "@/shell/preferences";
import { amount, bytes, figure } from "./format";
import { tip } from "./Tip";

export interface Series {
  /** Stable; the same run has the same colour in every chart when `colour` is its place in the comparison. */
  id: string;
  label: string;
  x: ArrayLike<number>;
  y: ArrayLike<number | null>;
  /** Index into the colour-blind safe palette, from 0. Default: the place in the list. */
  colour?: number;
}

export interface CurveProps {
  title: string;
  /** `bytes` and `bytes/s` are shown as kB, MB, GB. */
  unit?: string;
  /** Definition and formula for the title's tooltip. */
  hint?: string;
  formula?: string;
  series: Series[];
  /** Name of the horizontal axis. */
  xLabel?: string;
  /** `time`: seconds since 1970. */
  xKind?: "number" | "time";
  /** The horizontal axis counts: no ticks between whole numbers. */
  whole?: boolean;
  logX?: boolean;
  logY?: boolean;
  /** Charts with the same name share one crosshair. */
  sync?: string;
  height?: number;
  /** Fixed vertical range. */
  range?: [number, number];
}

const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const palette = (index: number) => `--series-${(index % 8) + 1}`;

/** The computed colours of our tokens: canvas knows no custom properties. */
function colours(host: HTMLElement, names: string[]): string[] {
  const probe = document.createElement("span");
  // Where motion is reduced every change is a very short transition, whose beginning is the colour before.
  probe.style.transition = "none";
  host.append(probe);
  const found = names.map((name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return found;
}

/** Live curves on canvas: tens of thousands of points, shared crosshair, log axes, drag to zoom, double click back. */
export function Curve(props: CurveProps) {
  const { series, logX, logY, sync, xKind = "number", height = 180 } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useShownTheme();
  const [at, setAt] = useState<number | null>(null);
  const data = useMemo(() => align(series, logX, logY), [series, logX, logY]);
  const latest = useRef(data);
  latest.current = data;
  const inBytes = props.unit?.startsWith("bytes") ?? false;
  const shape = series.map((one, index) => `${one.id}:${one.label}:${one.colour ?? index}`).join("|");
  const [low, high] = props.range ?? [undefined, undefined];

  // biome-ignore lint/correctness/useExhaustiveDependencies: `shape` stands for what of `series` the plot is built from, `theme` for the colours.
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const [ink = "", line = ""] = colours(element, ["--ink-muted", "--line"]);
    const strokes = colours(
      element,
      series.map((one, index) => palette(one.colour ?? index)),
    );
    const axis = {
      stroke: ink,
      font: "11px Inter Variable",
      grid: { stroke: line, width: 1 },
      ticks: { show: false },
    };
    const options: uPlot.Options = {
      width: element.clientWidth || 300,
      height,
      legend: { show: false },
      cursor: {
        y: false,
        points: { size: 6 },
        ...(sync ? { sync: { key: sync, setSeries: false } } : {}),
        drag: { x: true, y: false },
      },
      scales: {
        x: { time: xKind === "time", distr: logX ? 3 : 1 },
        y: {
          distr: logY ? 3 : 1,
          ...(low !== undefined && high !== undefined ? { range: [low, high] as [number, number] } : {}),
        },
      },
      axes: [
        {
          ...axis,
          size: 24,
          gap: 4,
          ...(props.whole ? { incrs: WHOLE } : {}),
          values: (_, ticks, _axis, _space, step) =>
            ticks.map((tick) => (xKind === "time" ? clock(tick, step) : figure(tick))),
        },
        {
          ...axis,
          size: 52,
          gap: 4,
          values: (_, ticks) =>
            ticks.map((tick) => (tick === null ? "" : inBytes ? bytes(tick) : figure(tick))),
        },
      ],
      series: [
        {},
        ...series.map((one, index) => ({
          label: one.label,
          stroke: strokes[index],
          width: 1.5,
          spanGaps: true,
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [(self) => setAt(self.cursor.idx ?? null)] },
    };
    const made = new uPlot(options, latest.current, element);
    plot.current = made;
    const watcher = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0 && width !== made.width) made.setSize({ width, height });
    });
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, theme, logX, logY, sync, xKind, height, low, high, inBytes]);

  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    // Who has zoomed in keeps the view while points arrive.
    const { min, max } = made.scales.x ?? {};
    const before = made.data[0];
    const zoomed =
      before.length > 0 &&
      min != null &&
      max != null &&
      (min > (before[0] ?? min) || max < (before.at(-1) ?? max));
    made.setData(data, !zoomed);
    if (zoomed) made.redraw();
  }, [data]);

  const x = at === null ? null : data[0][at];
  const summary = series
    .map((one) => `${one.label}: ${amount(lastOf(one.y), props.unit)} after ${one.x.length} points`)
    .join("; ");
  return (
    <figure className="m-0 min-w-0">
      <figcaption className="flex min-h-5 flex-wrap items-baseline gap-x-3 text-xs">
        <span className="font-medium" {...tip(props.hint, props.formula)}>
          {props.title}
          {props.unit && !inBytes && <span className="font-normal text-muted"> ({props.unit})</span>}
        </span>
        <span className="ml-auto flex flex-wrap gap-x-3 text-muted">
          {x != null && xKind === "number" && (
            <span>
              {props.xLabel ?? "x"} {figure(x)}
            </span>
          )}
          {x != null && xKind === "time" && <span>{clock(x, 1)}</span>}
          {series.map((one, index) => {
            const value = at === null ? lastOf(one.y) : data[index + 1]?.[at];
            return (
              <span key={one.id} className="inline-flex items-center gap-1 whitespace-nowrap">
                <span
                  aria-hidden="true"
                  className="inline-block h-0.5 w-2.5"
                  style={{ background: `var(${palette(one.colour ?? index)})` }}
                />
                {series.length > 1 && one.label} <span className="text-ink">{amount(value, props.unit)}</span>
              </span>
            );
          })}
        </span>
      </figcaption>
      <div ref={host} role="img" aria-label={`${props.title}. ${summary}`} style={{ height }} />
    </figure>
  );
}

/** The time of day; seconds only where ticks are closer than a minute. */
function clock(seconds: number, step: number): string {
  return new Date(seconds * 1000).toTimeString().slice(0, step < 60 ? 8 : 5);
}

function lastOf(values: ArrayLike<number | null>): number | null {
  for (let index = values.length - 1; index >= 0; index--)
    if (values[index] != null) return values[index] as number;
  return null;
}

/** All series over one horizontal axis; what a logarithm cannot show is left out. */
function align(series: Series[], logX = false, logY = false): uPlot.AlignedData {
  const tables = series.map((one): uPlot.AlignedData => {
    const xs: number[] = [];
    const ys: (number | null)[] = [];
    for (let index = 0; index < one.x.length; index++) {
      const x = one.x[index] as number;
      const y = one.y[index] ?? null;
      if (logX && x <= 0) continue;
      xs.push(x);
      ys.push(y !== null && logY && y <= 0 ? null : y);
    }
    return [xs, ys];
  });
  if (tables.length === 0) return [[]];
  return tables.length === 1 ? (tables[0] as uPlot.AlignedData) : uPlot.join(tables);
}
