import { useMemo } from "react";
import { ErrorNote, type MetricInfo, Skeleton, useUrlState } from "@/kit";
import { Curve, type Series } from "@/kit/Curve";
import { metricInfo } from "./form";
import type { Columns } from "./points";

interface Panel {
  title?: string;
  names: string[];
  /** A logarithm makes sense: the values are positive. */
  log: boolean;
}

const PANELS: Panel[] = [
  // Every architecture has terms of its own.
  { title: "Loss and its terms", names: ["loss", "*_loss"], log: true },
  { names: ["fvu"], log: true },
  { names: ["l0"], log: true },
  { names: ["dead_latents"], log: false },
  { names: ["learning_rate"], log: false },
  { names: ["tokens_per_second"], log: false },
  { names: ["cosine"], log: false },
  { names: ["mse"], log: true },
  { names: ["grad_norm"], log: true },
];

/** All recorded curves in a grid with one crosshair. */
export function RunCurves({
  columns,
  pending,
  error,
  onRetry,
  metrics,
  active,
}: {
  columns: Columns;
  pending: boolean;
  error: Error | null;
  onRetry: () => void;
  metrics: Record<string, MetricInfo | undefined> | undefined;
  active: boolean;
}) {
  const [axis, setAxis] = useUrlState("x", "step");
  const [logX, setLogX] = useUrlState("logx", false);
  const [logY, setLogY] = useUrlState("logy", false);
  const points = columns.step?.length ?? 0;
  if (error && points === 0)
    return (
      <div className="p-5">
        <ErrorNote error={error} onRetry={onRetry} />
      </div>
    );
  if (pending && points === 0)
    return (
      <div role="status" aria-label="Loading" className="grid gap-6 p-5 lg:grid-cols-2 2xl:grid-cols-3">
        {PANELS.slice(0, 6).map((panel) => (
          <Skeleton key={panel.names[0]} className="h-52 w-full" />
        ))}
      </div>
    );
  if (points === 0)
    return (
      <p className="px-5 py-10 text-center text-muted">
        {active ? "The first points come with the first steps." : "It recorded no points."}
      </p>
    );
  const toggle = (label: string, on: boolean, set: (on: boolean) => void) => (
    <label className="flex items-center gap-1.5 text-muted">
      <input
        type="checkbox"
        className="accent-accent"
        checked={on}
        onChange={(event) => set(event.target.checked)}
      />
      {label}
    </label>
  );
  return (
    <div className="p-5 pt-3">
      <div className="mb-3 flex flex-wrap items-center gap-4">
        <label className="flex items-center gap-2 text-muted">
          Over
          <select className="field w-auto" value={axis} onChange={(event) => setAxis(event.target.value)}>
            <option value="step">steps</option>
            <option value="tokens">tokens</option>
          </select>
        </label>
        {toggle("Logarithmic across", logX, setLogX)}
        {toggle("Logarithmic up", logY, setLogY)}
        <span className="ml-auto hidden text-muted md:inline">
          Drag to zoom, double click to see all. {points} points.
        </span>
      </div>
      <div className="grid gap-x-8 gap-y-6 lg:grid-cols-2 2xl:grid-cols-3">
        {PANELS.map((panel) => (
          <PanelCurve
            key={panel.names[0]}
            panel={panel}
            columns={columns}
            axis={axis === "tokens" ? "tokens" : "step"}
            logX={logX}
            logY={logY && panel.log}
            metrics={metrics}
          />
        ))}
      </div>
    </div>
  );
}

function PanelCurve({
  panel,
  columns,
  axis,
  logX,
  logY,
  metrics,
}: {
  panel: Panel;
  columns: Columns;
  axis: "step" | "tokens";
  logX: boolean;
  logY: boolean;
  metrics: Record<string, MetricInfo | undefined> | undefined;
}) {
  const names = panel.names
    .flatMap((name) =>
      name.startsWith("*") ? Object.keys(columns).filter((column) => column.endsWith(name.slice(1))) : [name],
    )
    .filter((name) => columns[name]?.some((value) => value !== null));
  const first = metricInfo(metrics, names[0] ?? panel.names[0] ?? "");
  const shape = names.join();
  const series = useMemo(
    () =>
      shape.split(",").map(
        (name): Series => ({
          id: name,
          label: metricInfo(metrics, name).title,
          x: (columns[axis] ?? []) as number[],
          y: columns[name] ?? [],
        }),
      ),
    [shape, columns, axis, metrics],
  );
  if (names.length === 0) return null;
  const several = names.length > 1;
  return (
    <Curve
      title={panel.title && several ? panel.title : first.title}
      unit={first.unit}
      hint={
        several
          ? names
              .map((name) => `${metricInfo(metrics, name).title}: ${metricInfo(metrics, name).description}`)
              .join("\n")
          : first.description
      }
      formula={names.map((name) => metricInfo(metrics, name).formula).join("\n")}
      series={series}
      xLabel={axis}
      logX={logX}
      logY={logY}
      sync={`run-${axis}`}
    />
  );
}
