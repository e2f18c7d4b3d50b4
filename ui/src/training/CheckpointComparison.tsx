import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { isActive, type Job, useJob } from "@/jobs/live";
import {
  ActivationHistogram,
  Dialog,
  ErrorNote,
  format,
  type MetricInfo,
  Num,
  ProgressBar,
  Section,
  SkeletonLines,
  tip,
} from "@/kit";
import type { Checkpoint } from "./Checkpoints";
import { metricInfo, type TrainingDetail } from "./form";
import { useFieldTitles } from "./runs";
import { settingWords } from "./words";

type Found = components["schemas"]["CheckpointComparisonOut"];
type Cosines = components["schemas"]["CosineHistogram"];

/** Two checkpoints of one run side by side: figures, settings, and how far the decoder's directions have turned. */
export function CheckpointComparison({
  training,
  pair,
  metrics,
  onClose,
}: {
  training: TrainingDetail;
  pair: [Checkpoint, Checkpoint];
  metrics: Record<string, MetricInfo | undefined> | undefined;
  onClose: () => void;
}) {
  const [before, after] = pair;
  const [started, setStarted] = useState<Job | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    let gone = false;
    body(
      api.POST("/api/v1/trainings/checkpoints/compare", {
        body: {
          before: { training_id: training.id, step: before.step },
          after: { training_id: training.id, step: after.step },
        },
      }),
    ).then(
      (job) => !gone && setStarted(job),
      (thrown) => !gone && setError(thrown),
    );
    return () => {
      gone = true;
    };
  }, [training.id, before.step, after.step]);
  const job = useJob(started);
  const done = job?.state === "succeeded";
  const result = useQuery({
    queryKey: ["checkpoint comparisons", started?.id],
    enabled: done,
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/trainings/checkpoints/comparisons/{job_id}", {
          params: { path: { job_id: started?.id ?? "" } },
          signal,
        }),
      ),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const failed = job !== null && !isActive(job) && !done;
  return (
    <Dialog
      open
      onClose={onClose}
      wide
      title={`Steps ${format.exact(before.step)} and ${format.exact(after.step)}`}
      description={training.name}
    >
      {error !== null && <ErrorNote error={error} />}
      {result.error && <ErrorNote error={result.error} onRetry={() => void result.refetch()} />}
      {failed && (
        <p role="alert">
          {job.error?.message ?? "The comparison was cancelled."} {job.error?.hint}
        </p>
      )}
      {!result.data && !result.error && error === null && !failed && (
        <div className="flex flex-col gap-3">
          {job && isActive(job) && <ProgressBar progress={job} label={job.title} />}
          <SkeletonLines lines={6} />
        </div>
      )}
      {result.data && <Result found={result.data} metrics={metrics} />}
    </Dialog>
  );
}

function Result({
  found,
  metrics,
}: {
  found: Found;
  metrics: Record<string, MetricInfo | undefined> | undefined;
}) {
  const titleOf = useFieldTitles();
  return (
    <div className="flex flex-col gap-5">
      <table className="w-full tabular-nums">
        <thead>
          <tr className="border-b border-line text-xs text-muted">
            <th className="py-1 text-left font-normal">Metric</th>
            <th className="text-right font-normal">Step {format.exact(found.before.step)}</th>
            <th className="text-right font-normal">Step {format.exact(found.after.step)}</th>
            <th className="text-right font-normal">Change</th>
          </tr>
        </thead>
        <tbody>
          {Object.entries(found.metrics).map(([name, [one, other]]) => (
            <tr key={name} className="border-b border-line">
              <td className="py-1">{metricInfo(metrics, name).title}</td>
              <td className="text-right">
                <Num value={one ?? null} />
              </td>
              <td className="text-right">
                <Num value={other ?? null} />
              </td>
              <td className="text-right text-muted">{changeOf(one, other)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <Section title="How far directions have turned">
        <p className="mb-3 text-muted">
          {format.exact(found.compared)} decoder directions of the later checkpoint
          {found.compared < (found.d_sae[1] ?? 0) && `, a sample of ${format.exact(found.d_sae[1])}`}.
          {found.moved !== null &&
            found.moved !== undefined &&
            (found.moved === 0
              ? " Each is nearest to itself in the earlier one."
              : ` ${format.exact(found.moved)} of them are nearer to another latent of the earlier one than to themselves.`)}
        </p>
        <div className="grid gap-5 sm:grid-cols-2">
          <Histogram title="With the nearest before" found={found.matched} />
          {found.same && <Histogram title="With itself before" found={found.same} />}
        </div>
      </Section>
      <Section title="Settings">
        {found.settings.length === 0 ? (
          <p className="text-muted">The same at both.</p>
        ) : (
          <ul>
            {found.settings.map((one) => (
              <li key={one.name} className="flex gap-3 py-0.5 tabular-nums">
                <span className="w-64 shrink-0 truncate" {...tip(one.name)}>
                  {titleOf(one.name)}
                </span>
                <span>
                  <span className="text-muted">{settingWords(one.name, one.before)}</span> →{" "}
                  {settingWords(one.name, one.after)}
                </span>
              </li>
            ))}
          </ul>
        )}
      </Section>
    </div>
  );
}

function Histogram({ title, found }: { title: string; found: Cosines }) {
  return (
    <div className="min-w-0">
      <div className="mb-1 flex justify-between gap-2 text-xs text-muted">
        <span>{title}</span>
        <span>median cosine {format.figure(found.median)}</span>
      </div>
      <ActivationHistogram
        edges={found.edges}
        counts={found.counts}
        label="Cosine of decoder directions"
        unit="latent"
      />
    </div>
  );
}

function changeOf(before: number | null | undefined, after: number | null | undefined): string {
  if (before === null || before === undefined || after === null || after === undefined) return "–";
  const change = after - before;
  if (change === 0) return "none";
  const share =
    before === 0 ? "" : ` (${change > 0 ? "+" : "−"}${format.percent(Math.abs(change / before))})`;
  return `${change > 0 ? "+" : "−"}${format.figure(Math.abs(change))}${share}`;
}
