import { useEffect, useMemo, useRef, useState } from "react";
import { ErrorNote, type MetricInfo, Skeleton, useUrlState } from "@/kit";
import { Chart } from "@/kit/chart/Chart";
import { ChartGroup, type Span } from "@/kit/chart/group";
import type { Axis, Line, Mark } from "@/kit/chart/lines";
import { lowerBound } from "@/kit/chart/thin";
import { CurveTools } from "./CurveTools";
import { hideChart, pinChart, unpinChart, useChartChoices } from "./chartChoices";
import { differingSettings, shortNames } from "./differences";
import { metricInfo, type Training } from "./form";
import { type Panel, panelsOf } from "./panels";
import { RunLegend } from "./RunLegend";
import { type RunPoints, useRunPoints } from "./runPoints";
import { useFieldTitles } from "./runs";
import { changeWords } from "./words";

export type ShownRun = Pick<Training, "id" | "name" | "hook" | "config">;

const AXES: Axis[] = ["step", "tokens", "elapsed", "time"];
/** What the title of a chart says of all its lines. */
const SAID = / (term|latents)$/;
const GRID = "grid gap-x-6 gap-y-4 lg:grid-cols-2 2xl:grid-cols-3";

/** All recorded curves of one run, or of several over one another, in a grid with one crosshair and one zoom. */
export function RunCurves({
  runs,
  metrics,
  active,
}: {
  runs: ShownRun[];
  metrics: Record<string, MetricInfo | undefined> | undefined;
  active: boolean;
}) {
  const points = useRunPoints(runs.map((run) => run.id));
  const [axisChoice] = useUrlState("x", "step");
  const axis = AXES.find((one) => one === axisChoice) ?? "step";
  const [logX] = useUrlState("logx", false);
  const [logY] = useUrlState("logy", false);
  const [smoothing] = useUrlState("smooth", 0);
  const [grouped] = useUrlState("group", "");
  const [hiddenRuns, setHiddenRuns] = useUrlState("hidden", "");
  const [large, setLarge] = useUrlState("large", "");
  const group = useZoomGroup(points, axis);
  const choices = useChartChoices();

  const several = runs.length > 1;
  const names = points.flatMap((run) => run.log.names);
  const shape = [...new Set(names)]
    .filter((name) => points.some((run) => run.log.last(name) !== null))
    .join();
  const panels = useMemo(() => panelsOf(shape.split(",").filter(Boolean), several), [shape, several]);
  const settings = useMemo(() => differingSettings(runs), [runs]);
  const titleOf = useFieldTitles();
  const groupTitle = grouped && titleOf(grouped);
  const short = useMemo(() => shortNames(runs), [runs]);
  const values = settings.get(grouped);
  const off = useMemo(() => new Set(hiddenRuns.split(",")), [hiddenRuns]);
  const groupOf = useMemo(() => {
    const kinds = [...new Set(values)];
    return runs.map((_, place) => {
      const value = values?.[place];
      return value === undefined
        ? undefined
        : { name: `${groupTitle} ${value}`, colour: kinds.indexOf(value) };
    });
  }, [runs, values, groupTitle]);
  const changes = points.map((run) => run.changes.length).join();
  // biome-ignore lint/correctness/useExhaustiveDependencies: `changes` stands for what of the points is read.
  const marks = useMemo(
    () =>
      points.flatMap((run, place): Mark[] =>
        off.has(run.id)
          ? []
          : run.changes.map((change) => ({
              points: run.log,
              step: change.step,
              time: change.time,
              run: run.id,
              colour: place,
              text: `${several ? `${short[place]}: ` : ""}${changeWords(change)}`,
            })),
      ),
    [points, changes, short, off, several],
  );

  const empty = points.every((run) => run.log.length === 0);
  const failed = points.find((run) => run.error);
  if (empty && failed?.error)
    return (
      <div className="p-5">
        <ErrorNote
          error={failed.error}
          onRetry={() => {
            for (const run of points) void run.fetch();
          }}
        />
      </div>
    );
  if (empty && points.some((run) => run.pending))
    return (
      <div role="status" aria-label="Loading" className={`${GRID} p-5`}>
        {[0, 1, 2, 3, 4, 5].map((place) => (
          <Skeleton key={place} className="h-52 w-full" />
        ))}
      </div>
    );
  if (empty)
    return (
      <p className="px-5 py-10 text-center text-muted">
        {active
          ? "The first points come with the first steps."
          : several
            ? "They recorded no points."
            : "It recorded no points."}
      </p>
    );
  const shown = panels.filter((panel) => !choices.hidden.includes(panel.id));
  const rank = (panel: Panel) => {
    const pinned = choices.pinned.indexOf(panel.id);
    return pinned < 0 ? choices.pinned.length : pinned;
  };
  const sorted = shown.toSorted((one, other) => rank(one) - rank(other));
  return (
    <div className="flex min-h-0 flex-1 flex-col px-5 pb-5">
      <CurveTools
        panels={panels}
        points={points}
        group={group}
        metrics={metrics}
        groupable={several ? [...settings.keys()].map((path) => ({ path, title: titleOf(path) })) : []}
      />
      {several && (
        <RunLegend
          runs={runs}
          names={short}
          groups={groupOf}
          hidden={off}
          group={group}
          settings={settings}
          onToggle={(id, alone) => {
            const others = runs.map((run) => run.id).filter((one) => one !== id);
            const next = alone
              ? others.every((one) => off.has(one))
                ? []
                : others
              : off.has(id)
                ? [...off].filter((one) => one !== id)
                : [...off, id];
            setHiddenRuns(next.filter(Boolean).join(","));
          }}
        />
      )}
      <div className={GRID}>
        {sorted.map((panel) => (
          <PanelChart
            key={panel.id}
            panel={panel}
            runs={runs}
            names={short}
            points={points}
            groupOf={groupOf}
            off={off}
            marks={marks}
            metrics={metrics}
            axis={axis}
            logX={logX}
            logY={logY && panel.log}
            smoothing={panel.sparse ? 0 : Number(smoothing)}
            group={group}
            pinned={choices.pinned.includes(panel.id)}
            large={large === panel.id}
            onLarge={() => setLarge(large === panel.id ? "" : panel.id)}
          />
        ))}
      </div>
      {sorted.length === 0 && (
        <p className="py-10 text-center text-muted">All charts are hidden: choose some under Charts.</p>
      )}
    </div>
  );
}

function PanelChart({
  panel,
  runs,
  names,
  points,
  groupOf,
  off,
  metrics,
  pinned,
  ...chart
}: {
  panel: Panel;
  runs: ShownRun[];
  names: string[];
  points: RunPoints[];
  groupOf: ({ name: string; colour: number } | undefined)[];
  off: Set<string>;
  metrics: Record<string, MetricInfo | undefined> | undefined;
  pinned: boolean;
  marks: Mark[];
  axis: Axis;
  logX: boolean;
  logY: boolean;
  smoothing: number;
  group: ChartGroup;
  large: boolean;
  onLarge: () => void;
}) {
  const several = runs.length > 1;
  const infos = panel.columns.map((name) => metricInfo(metrics, name));
  const lines = useMemo(
    () =>
      points.flatMap((run, place) =>
        off.has(run.id)
          ? []
          : panel.columns.map((column, index): Line => {
              const title = metricInfo(metrics, column).title;
              return {
                id: `${run.id} ${column}`,
                label: several ? (names[place] ?? run.id) : title.replace(SAID, ""),
                points: run.log,
                column,
                colour: several ? place : index,
                run: run.id,
                group: groupOf[place],
              };
            }),
      ),
    [points, off, panel, metrics, names, several, groupOf],
  );
  const [first] = infos;
  return (
    <Chart
      {...chart}
      id={several ? panel.id : `${runs[0]?.name ?? "run"}-${panel.id}`}
      title={panel.title ?? first?.title ?? panel.id}
      unit={first?.unit}
      hint={infos
        .map((info) => (infos.length > 1 ? `${info.title}: ${info.description}` : info.description))
        .join("\n")}
      formula={infos.map((info) => info.formula).join("\n")}
      lines={lines}
      runName={(id) => runs.find((run) => run.id === id)?.name ?? id}
      sparse={panel.sparse}
      pinned={pinned}
      onPin={() => (pinned ? unpinChart : pinChart)(panel.id)}
      onHide={() => hideChart(panel.id)}
    />
  );
}

/** The charts' shared zoom, which stands in the address; what it leads to is fetched as finely as it is drawn. */
function useZoomGroup(points: RunPoints[], axis: Axis): ChartGroup {
  const [group] = useState(() => new ChartGroup());
  const [zoom, setZoom] = useUrlState("zoom", "");
  const runs = useRef(points);
  runs.current = points;
  group.onZoom = (span) =>
    setZoom(span === null ? "" : span.map((end) => Number(end.toPrecision(7))).join("~"));
  const before = useRef(axis);
  useEffect(() => {
    // A part of one axis means nothing on another.
    if (before.current !== axis) {
      before.current = axis;
      group.zoomTo(null);
      return;
    }
    const ends = zoom.split("~").map(Number);
    const [low = Number.NaN, high = Number.NaN] = ends;
    const span: Span | null = low < high ? [low, high] : null;
    group.zoomTo(span, { quietly: true });
    if (!span) return;
    const timer = setTimeout(() => {
      for (const run of runs.current) {
        const [x, steps] = [run.log.column(axis), run.log.column("step")];
        if (!x || !steps || steps.length === 0) continue;
        const step = (place: number) => steps[Math.min(Math.max(place, 0), steps.length - 1)] as number;
        run.refine(step(lowerBound(x, span[0]) - 1) - 1, step(lowerBound(x, span[1]))).catch(() => {}); // what there is stays on the screen
      }
    }, 200);
    return () => clearTimeout(timer);
  }, [zoom, axis, group]);
  return group;
}
