import { isActive, useJob } from "@/jobs/live";
import { format, Metric, type MetricInfo, Spark } from "@/kit";
import type { PointLog } from "@/kit/chart/pointLog";
import { useLive } from "@/kit/chart/useLive";
import { metricInfo, type Training } from "./form";
import { useRunPoints } from "./runPoints";

const SHOWN = 48;

const LEFT: MetricInfo = {
  title: "Time left",
  unit: "",
  formula: "(total_tokens − tokens) / rate",
  description: "At the present speed, until all tokens have been seen.",
};

const MEDIAN: MetricInfo = {
  title: "Speed",
  unit: "tokens/s",
  formula: "median of Δ tokens / Δ seconds",
  description: "Tokens trained on per second between two recorded points: the median of the run.",
};

const FIGURES: { name: string; share?: boolean; title?: string }[] = [
  { name: "fvu" },
  { name: "l0" },
  { name: "dead_fraction", share: true, title: "Dead latents" },
  { name: "tokens_per_second" },
];

/** Whether it goes well, in five figures. */
export function RunFigures({
  training,
  metrics,
}: {
  training: Training;
  metrics: Record<string, MetricInfo | undefined> | undefined;
}) {
  const job = useJob(training.job);
  const running = isActive(job) && job?.state !== "paused";
  // Before the first step the job counts what the model reads, or nothing yet.
  const steps = running && job?.unit === "tokens" && job.total !== null;
  const absent =
    job?.state === "queued" ? "not begun" : running ? "with the first steps" : "nothing recorded";
  const logs = useRunPoints([training.id]).map((run) => run.log);
  useLive(logs);
  const [log] = logs;
  return (
    <section
      aria-label="Figures"
      className="grid shrink-0 grid-cols-2 gap-x-6 gap-y-2 border-b border-line px-5 py-2.5 sm:grid-cols-3 lg:grid-cols-5"
    >
      {FIGURES.map(({ name, share = false, title }) => {
        const known = metricInfo(metrics, name);
        const info = name === "tokens_per_second" && !running ? MEDIAN : title ? { ...known, title } : known;
        const newest = log?.last(name) ?? training.last_metrics?.[name];
        // The last two points may lie on either side of an evaluation; what a run did as a rule is its median.
        const value =
          name !== "tokens_per_second"
            ? newest
            : steps && job?.rate
              ? job.rate
              : (training.last_metrics?.[name] ?? newest);
        return (
          <div key={name} className="flex min-w-0 items-end gap-3">
            <Metric info={info} value={value} share={share} absent={absent} />
            <Spark values={course(log, name)} label={`${info.title}, course`} />
          </div>
        );
      })}
      <div className="min-w-0">
        {running ? (
          <Metric
            info={LEFT}
            value={steps ? job?.seconds_left : undefined}
            absent={job?.state === "queued" ? "not begun" : steps ? "measuring" : "once it trains"}
            words={format.duration(steps ? job?.seconds_left : undefined)}
          />
        ) : (
          <>
            <div className="text-2xs text-muted">Trained on</div>
            <div className="text-lg font-medium whitespace-nowrap">
              {format.figure(training.tokens_trained)}
              <span className="ml-1 text-xs font-normal text-muted">tokens</span>
            </div>
          </>
        )}
      </div>
    </section>
  );
}

/** The whole course in few points, without the gaps. */
function course(log: PointLog | undefined, name: string): number[] {
  const values = log?.column(name);
  if (!values) return [];
  const known: number[] = [];
  const stride = Math.max(1, (values.length - 1) / (SHOWN - 1));
  for (let place = 0; place < values.length; place += stride) {
    const value = values[Math.round(place)];
    if (value !== undefined && !Number.isNaN(value)) known.push(value);
  }
  return known;
}
