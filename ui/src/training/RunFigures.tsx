import { isActive, useJob } from "@/jobs/live";
import { format, Metric, type MetricInfo, Spark } from "@/kit";
import { metricInfo, type Training } from "./form";
import type { Columns } from "./points";

const SHOWN = 48;

const LEFT: MetricInfo = {
  title: "Time left",
  unit: "",
  formula: "(total_tokens − tokens) / rate",
  description: "At the present speed, until all tokens have been seen.",
};

/** Whether it goes well, in five figures. */
export function RunFigures({
  training,
  columns,
  metrics,
}: {
  training: Training;
  columns: Columns;
  metrics: Record<string, MetricInfo | undefined> | undefined;
}) {
  const job = useJob(training.job);
  const running = isActive(job);
  const newest = (name: string) => columns[name]?.at(-1) ?? training.last_metrics?.[name];
  const figures: { name: string; share?: boolean }[] = [
    { name: "fvu" },
    { name: "l0" },
    { name: "dead_fraction", share: true },
    { name: "tokens_per_second" },
  ];
  return (
    <section
      aria-label="Figures"
      className="grid shrink-0 grid-cols-2 gap-x-6 gap-y-2 border-b border-line px-5 py-2.5 sm:grid-cols-3 lg:grid-cols-5"
    >
      {figures.map(({ name, share = false }) => {
        const info = metricInfo(metrics, name);
        const value = name === "tokens_per_second" && running && job?.rate ? job.rate : newest(name);
        return (
          <div key={name} className="flex min-w-0 items-end gap-3">
            <Metric info={info} value={value} share={share} />
            <Spark values={recent(columns[name])} label={`${info.title}, course`} />
          </div>
        );
      })}
      <div className="min-w-0">
        {running ? (
          <>
            <div className="text-2xs text-muted">{LEFT.title}</div>
            <div className="text-lg font-medium whitespace-nowrap" title={LEFT.description}>
              {format.duration(job?.seconds_left)}
            </div>
          </>
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
function recent(values: (number | null)[] | undefined): number[] {
  const known = (values ?? []).filter((value): value is number => value !== null);
  if (known.length <= SHOWN) return known;
  return Array.from(
    { length: SHOWN },
    (_, place) => known[Math.round((place * (known.length - 1)) / (SHOWN - 1))] as number,
  );
}
