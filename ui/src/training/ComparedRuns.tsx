import { useNavigate } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { isActive } from "@/jobs/live";
import { type MetricInfo, Pareto, Tabs, useUrlState } from "@/kit";
import { CompareFigures } from "./CompareFigures";
import { CompareSettings } from "./CompareSettings";
import { type Comparison, comparedWords, figureOf, figureTitle, telling } from "./comparison";
import { shortNames } from "./differences";
import { useTrainingForm } from "./form";
import { ParallelCoordinates } from "./ParallelCoordinates";
import { RunCurves } from "./RunCurves";

/** Runs side by side: figures, curves over one another, the Pareto plot, parallel coordinates, what differs. */
export function ComparedRuns({ data }: { data: Comparison }) {
  const form = useTrainingForm();
  return (
    <Tabs
      label="Comparison"
      tabs={[
        { id: "figures", label: "Figures", content: () => <CompareFigures data={data} /> },
        {
          id: "curves",
          label: "Curves",
          content: () => <Curves data={data} metrics={form?.metrics} />,
        },
        { id: "pareto", label: "Pareto", content: () => <ParetoTab data={data} /> },
        { id: "parallel", label: "Parallel coordinates", content: () => <ParallelCoordinates data={data} /> },
        {
          id: "settings",
          label: "Differences",
          count: data.settings.length,
          content: () => <CompareSettings data={data} />,
        },
      ]}
    />
  );
}

function Curves({
  data,
  metrics,
}: {
  data: Comparison;
  metrics: Record<string, MetricInfo | undefined> | undefined;
}) {
  const ids = data.trainings.map((run) => run.id).join();
  // The curves follow events by themselves: new figures of the same runs must not draw them anew.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the ids stand for the runs.
  const runs = useMemo(() => data.trainings, [ids]);
  return <RunCurves runs={runs} metrics={metrics} active={data.trainings.some((run) => isActive(run.job))} />;
}

const AGAINST: { name: string; better: "lower" | "higher" }[] = [
  { name: "fvu", better: "lower" },
  { name: "ce_loss_score", better: "higher" },
];

function ParetoTab({ data }: { data: Comparison }) {
  const navigate = useNavigate();
  const [by, setBy] = useUrlState("by", "");
  const [linear, setLinear] = useUrlState("linear", false);
  const [lit, setLit] = useState<string | null>(null);
  const l0 = figureOf(data, "l0");
  const names = shortNames(data.trainings);
  const kinds = new Set(data.trainings.map((run) => run.config.architecture?.kind));
  const hooks = new Set(data.trainings.map((run) => run.hook));
  // Runs of one architecture are told apart by where they read.
  const marks = by || (kinds.size === 1 && hooks.size > 1 ? "hook" : "architecture");
  const plots = AGAINST.flatMap(({ name, better }) => {
    const figure = figureOf(data, name);
    return figure && l0 ? [{ figure, better }] : [];
  });
  const groupOf = (place: number) => {
    const run = data.trainings[place];
    if (!run) return "";
    if (marks === "hook") return run.hook;
    const setting = data.settings.find((one) => one.name === marks && one.name !== "architecture");
    if (setting) return `${setting.title} ${comparedWords(setting.name, setting.values[place])}`;
    return comparedWords("architecture", run.config.architecture?.kind);
  };
  const detail = (place: number) =>
    telling(data, 6)
      .filter((setting) => setting.values[place] !== null)
      .map((setting) => `${setting.title}: ${comparedWords(setting.name, setting.values[place])}`)
      .join("\n");
  if (!l0 || plots.length === 0)
    return (
      <p className="px-5 py-10 text-center text-muted">
        There are no figures of L0 and FVU yet: they come with the first recorded steps.
      </p>
    );
  return (
    <div className="px-5 py-3">
      <div className="mb-2 flex flex-wrap items-center gap-4">
        <label className="flex items-center gap-2 text-muted">
          Marks by
          <select
            className="field w-auto max-w-56"
            value={marks}
            onChange={(event) => setBy(event.target.value)}
          >
            <option value="architecture">Architecture</option>
            {data.settings
              .filter((setting) => setting.name !== "architecture")
              .map((setting) => (
                <option key={setting.name} value={setting.name}>
                  {setting.title}
                </option>
              ))}
          </select>
        </label>
        <label className="flex items-center gap-1.5 text-muted">
          <input
            type="checkbox"
            className="accent-accent"
            checked={!linear}
            onChange={(event) => setLinear(!event.target.checked)}
          />
          Log across
        </label>
      </div>
      <div className={`grid gap-6 ${plots.length > 1 ? "xl:grid-cols-2" : ""}`}>
        {plots.map(({ figure, better }) => (
          <section key={figure.name} aria-label={figureTitle(figure)}>
            <h2 className="mb-1 font-semibold">
              {figureTitle(figure)} against {figureTitle(l0)}
              <span className="ml-2 text-xs font-normal text-muted">
                {better === "higher" ? "upper" : "lower"} left is better
              </span>
            </h2>
            <Pareto
              points={data.trainings.flatMap((run, place) => {
                const [x, y] = [l0.values[place], figure.values[place]];
                return typeof x === "number" && typeof y === "number"
                  ? [
                      {
                        id: run.id,
                        label: names[place] ?? run.name,
                        x,
                        y,
                        group: groupOf(place),
                        detail: detail(place),
                      },
                    ]
                  : [];
              })}
              xTitle={`${l0.title} (latents per token)`}
              yTitle={figure.title}
              better={better}
              logX={!linear}
              lit={lit}
              onLight={setLit}
              onOpen={(id) => void navigate({ to: "/trainings/$id", params: { id } })}
            />
          </section>
        ))}
      </div>
    </div>
  );
}
