import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { type ReactNode, useMemo, useState } from "react";
import { api, body } from "@/api/client";
import { useChannel } from "@/api/useChannel";
import { JobLog } from "@/jobs/JobLog";
import { JobCell, QueuedWords } from "@/jobs/JobState";
import { isActive, useJob } from "@/jobs/live";
import {
  Empty,
  ErrorNote,
  format,
  type MetricInfo,
  PageHeader,
  ProgressBar,
  SkeletonLines,
  StateBadge,
  Tabs,
  tip,
  useUrlState,
} from "@/kit";
import { Checkpoints } from "./Checkpoints";
import { Environment } from "./Environment";
import { type TrainingDetail, useTrainingForm } from "./form";
import { Recordings } from "./Recordings";
import { RunActions } from "./RunActions";
import { RunConfig } from "./RunConfig";
import { RunCurves } from "./RunCurves";
import { RunFigures } from "./RunFigures";

const CRUMBS = [{ label: "Training", to: "/trainings" }];

export function RunPage() {
  const { id } = useParams({ from: "/trainings/$id" });
  const client = useQueryClient();
  const { data, error, refetch } = useQuery<TrainingDetail>({
    queryKey: ["trainings", id],
    // Checkpoints are written meanwhile.
    refetchInterval: (query) => (isActive(query.state.data?.job) ? 20_000 : false),
    queryFn: ({ signal }): Promise<TrainingDetail> =>
      body(api.GET("/api/v1/trainings/{training_id}", { params: { path: { training_id: id } }, signal })),
  });
  const [gone, setGone] = useState("");
  // Not useRefetchOn: on this channel every point of the curves is an event too.
  useChannel(`trainings/${id}`, {
    onEvent: (event) => {
      if (event.type === "changed") void client.invalidateQueries({ queryKey: ["trainings", id] });
      if (event.type === "deleted") setGone(id);
    },
  });
  // Of many that are deleted at once the list's channel tells.
  useChannel("trainings", {
    onEvent: (event) => {
      if (event.type === "deleted" && (event.data as { ids?: string[] }).ids?.includes(id)) setGone(id);
    },
  });
  if (gone === id)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title={data?.name ?? "Training"} />
        <Empty title="Deleted">This training is no longer there. An SAE that came out of it stays.</Empty>
      </>
    );
  if (!data)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="Training" />
        <div className="px-5 py-4">
          {error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <SkeletonLines lines={6} />}
        </div>
      </>
    );
  return <Run key={id} training={data} />;
}

function Run({ training }: { training: TrainingDetail }) {
  const job = useJob(training.job);
  const form = useTrainingForm();
  return (
    <>
      <PageHeader
        crumbs={CRUMBS}
        title={training.name}
        state={<JobCell job={training.job} done />}
        actions={<RunActions training={training} />}
      />
      <RunBanner training={training} />
      <RunFigures training={training} metrics={form?.metrics} />
      <Tabs
        label="Training"
        tabs={[
          {
            id: "curves",
            label: "Curves",
            content: () => <Curves training={training} metrics={form?.metrics} active={isActive(job)} />,
          },
          {
            id: "latents",
            label: "Latents",
            content: () => <Recordings training={training} active={isActive(job)} />,
          },
          {
            id: "configuration",
            label: "Configuration",
            content: () => <RunConfig training={training} form={form} />,
          },
          {
            id: "checkpoints",
            label: "Checkpoints",
            count: training.checkpoints.length,
            content: () => <Checkpoints training={training} />,
          },
          {
            id: "log",
            label: "Log",
            content: () =>
              training.job ? (
                <JobLog job={training.job} />
              ) : (
                <p className="px-5 py-10 text-center text-muted">No job has worked on this training.</p>
              ),
          },
          {
            id: "environment",
            label: "Environment",
            content: () => <Environment id={training.id} active={isActive(job)} />,
          },
        ]}
      />
    </>
  );
}

/** The run's curves alone, or over those of the others that were trained in the same pass. */
function Curves({
  training,
  metrics,
  active,
}: {
  training: TrainingDetail;
  metrics: Record<string, MetricInfo | undefined> | undefined;
  active: boolean;
}) {
  const [together, setTogether] = useUrlState("sweep", false);
  const size = training.sweep_size;
  const sweep = useQuery({
    queryKey: ["trainings", "sweep", training.sweep_id],
    enabled: together && size > 1,
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/sweeps/{sweep_id}", {
          params: { path: { sweep_id: training.sweep_id } },
          signal,
        }),
      ),
  });
  const alone = useMemo(() => [training], [training]);
  const runs = together ? (sweep.data?.trainings ?? alone) : alone;
  return (
    <>
      {size > 1 && (
        <div className="flex items-center gap-4 border-b border-line px-5 py-1.5 text-muted">
          <span>
            One of {size} that {active ? "are" : "were"} trained in the same pass.
          </span>
          <label className="flex items-center gap-1.5">
            <input
              type="checkbox"
              className="accent-accent"
              checked={together}
              onChange={(event) => setTogether(event.target.checked)}
            />
            Show all {size} over one another
          </label>
          <Link to="/sweeps/$id" params={{ id: training.sweep_id }} className="ml-auto text-accent">
            The sweep
          </Link>
        </div>
      )}
      <RunCurves runs={runs} metrics={metrics} active={active} />
    </>
  );
}

/** How far it is, or why it went no further, and what came out of it. */
function RunBanner({ training }: { training: TrainingDetail }) {
  const job = useJob(training.job);
  const line = (children: ReactNode, look = "bg-surface") => (
    <div className={`flex items-center gap-4 border-b border-line px-5 py-2 ${look}`}>{children}</div>
  );
  if (job && isActive(job) && job.state !== "paused")
    return line(
      job.state === "queued" ? (
        <QueuedWords job={job} />
      ) : (
        <div className="min-w-0 flex-1">
          <ProgressBar progress={job} label={job.title} />
        </div>
      ),
    );
  const share = `${format.figure(training.tokens_trained)} of ${format.figure(training.config.total_tokens)} tokens`;
  if (job?.state === "failed")
    return (
      <div role="alert" className="border-b border-line bg-failed-wash px-5 py-2">
        <div className="font-medium">{job.error?.message ?? "The training failed."}</div>
        <div className="text-muted">
          {job.error?.hint} It had seen {share}.
        </div>
      </div>
    );
  if (job?.state === "paused" || job?.state === "cancelled")
    return line(
      <>
        <StateBadge state={job.state} />
        <span className="text-muted">
          {share} so far. {training.checkpoints.length > 0 && "It can go on from its newest checkpoint."}
        </span>
      </>,
    );
  if (training.sae_id)
    return line(
      <>
        <span>
          Trained on {share}.{" "}
          <Link to="/saes/$id" params={{ id: training.sae_id }} className="text-accent underline">
            The SAE that came out of it
          </Link>
        </span>
        <HeldOut training={training} />
      </>,
    );
  return null;
}

/** The SAE's figures on tokens that were never trained on. */
function HeldOut({ training }: { training: TrainingDetail }) {
  const result = training.job?.result as Record<string, unknown> | null | undefined;
  const fvu = result?.fvu;
  const l0 = result?.l0;
  if (training.held_out_tokens === 0 || typeof fvu !== "number") return null;
  return (
    <span className="text-muted" {...tip(training.expected?.source)}>
      On held-out tokens: FVU {format.figure(fvu)}
      {typeof l0 === "number" && `, L0 ${format.figure(l0)}`}
    </span>
  );
}
