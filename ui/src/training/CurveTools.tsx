import { ChartLine, Check, RotateCcw } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { Button, format, IconButton, Menu, type MetricInfo, tip, useUrlState } from "@/kit";
import { AXIS_NAMES } from "@/kit/chart/axes";
import { type ChartGroup, useZoom } from "@/kit/chart/group";
import type { Axis } from "@/kit/chart/lines";
import { useLive } from "@/kit/chart/useLive";
import { hideChart, showChart, useChartChoices } from "./chartChoices";
import { metricInfo } from "./form";
import type { Panel } from "./panels";
import type { RunPoints } from "./runPoints";

/** What the curves are drawn over and how: all of it stands in the address. */
export function CurveTools({
  panels,
  points,
  group,
  metrics,
  groupable,
}: {
  panels: Panel[];
  points: RunPoints[];
  group: ChartGroup;
  metrics: Record<string, MetricInfo | undefined> | undefined;
  /** Where the runs differ. */
  groupable: { path: string; title: string }[];
}) {
  const [axis, setAxis] = useUrlState("x", "step");
  const [logX, setLogX] = useUrlState("logx", false);
  const [logY, setLogY] = useUrlState("logy", false);
  const [grouped, setGrouped] = useUrlState("group", "");
  const choices = useChartChoices();
  const zoom = useZoom(group);
  return (
    <div className="sticky top-0 z-20 flex min-h-11 shrink-0 flex-wrap items-center gap-x-4 gap-y-1 bg-canvas py-1.5">
      <Labelled text="Over">
        <select className="field w-auto" value={axis} onChange={(event) => setAxis(event.target.value)}>
          {Object.entries(AXIS_NAMES).map(([id, name]) => (
            <option key={id} value={id as Axis}>
              {name}
            </option>
          ))}
        </select>
      </Labelled>
      <Smoothing />
      <Toggle label="Log across" on={logX} set={setLogX} />
      <Toggle label="Log up" on={logY} set={setLogY} />
      {groupable.length > 0 && (
        <Labelled text="Group by">
          <select
            className="field w-auto max-w-48"
            value={grouped}
            onChange={(event) => setGrouped(event.target.value)}
          >
            <option value="">each run</option>
            {groupable.map((one) => (
              <option key={one.path} value={one.path}>
                {one.title}
              </option>
            ))}
          </select>
        </Labelled>
      )}
      <span className="ml-auto flex items-center gap-3 text-muted">
        {/* It keeps its room, so that zooming moves no chart. */}
        <span className={zoom ? "" : "invisible"}>
          <IconButton label="Whole run" onClick={() => group.zoomTo(null)}>
            <RotateCcw size={14} />
          </IconButton>
        </span>
        <Count points={points} />
        <Menu
          items={panels.map((panel) => {
            const off = choices.hidden.includes(panel.id);
            return {
              label: panel.title ?? metricInfo(metrics, panel.columns[0] ?? "").title,
              icon: <Check size={14} className={off ? "opacity-0" : ""} />,
              onSelect: () => (off ? showChart : hideChart)(panel.id),
            };
          })}
        >
          <Button icon={<ChartLine size={14} />}>Charts</Button>
        </Menu>
      </span>
    </div>
  );
}

function Count({ points }: { points: RunPoints[] }) {
  useLive(points.map((run) => run.log));
  const shown = points.reduce((sum, run) => sum + run.log.length, 0);
  const total = points.reduce((sum, run) => sum + Math.max(run.total, run.log.length), 0);
  const thinned =
    shown < total
      ? `Drawn from ${format.figure(shown)} of them, which keep every minimum and maximum; zooming in fetches the rest.`
      : "";
  return (
    <span
      data-total={total}
      {...tip(
        `${thinned}\nDrag across a chart to zoom, double click to see all. With a chart focused: arrow keys move the crosshair, + and − zoom.`.trim(),
      )}
    >
      {format.figure(total)} points.
    </span>
  );
}

/** Kept in the address when the slider rests, drawn while it moves. */
function Smoothing() {
  const [kept, keep] = useUrlState("smooth", 0);
  const [value, setValue] = useState(Number(kept));
  useEffect(() => setValue(Number(kept)), [kept]);
  useEffect(() => {
    if (value === Number(kept)) return;
    const timer = setTimeout(() => keep(value), 60);
    return () => clearTimeout(timer);
  }, [value, kept, keep]);
  return (
    <Labelled text="Smooth">
      <input
        type="range"
        min={0}
        max={1}
        step={0.02}
        value={value}
        aria-label="Smoothing"
        aria-valuetext={value === 0 ? "none" : format.percent(value)}
        className="w-24 accent-accent"
        onChange={(event) => setValue(Number(event.target.value))}
        {...tip(
          "Exponentially weighted mean over a part of the axis, whatever the distance between points; the course as recorded stays behind it, faintly.",
          "Σ e^(−d/s)·y / Σ e^(−d/s), d = distance back along the axis",
        )}
      />
    </Labelled>
  );
}

function Labelled({ text, children }: { text: string; children: ReactNode }) {
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: the control is the child.
    <label className="flex items-center gap-2 text-muted">
      {text}
      {children}
    </label>
  );
}

function Toggle({ label, on, set }: { label: string; on: boolean; set: (on: boolean) => void }) {
  return (
    <label className="flex items-center gap-1.5 whitespace-nowrap text-muted">
      <input
        type="checkbox"
        className="accent-accent"
        checked={on}
        onChange={(event) => set(event.target.checked)}
      />
      {label}
    </label>
  );
}
