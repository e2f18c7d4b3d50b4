import { Link } from "@tanstack/react-router";
import { format, ProgressBar, StateBadge, shareDone, tip } from "@/kit";
import { pauseJob, resumeJob } from "./actions";
import { canPause, isActive, type Job, useActiveJobs, useJob } from "./live";

/** What a job in the queue waits for, where it is not its turn alone. */
export function waitsFor(job: Job): string | null {
  return job.state === "queued" && job.memory_bytes && job.stage?.startsWith("Waits ") ? job.stage : null;
}

/** Why a job is still in the queue, and how many of its kind are before it. */
export function QueuedWords({ job }: { job: Job }) {
  const before = useActiveJobs().filter(
    (one) =>
      one.state === "queued" &&
      one.kind === job.kind &&
      one.id !== job.id &&
      (one.priority > job.priority || (one.priority === job.priority && one.created_at < job.created_at)),
  ).length;
  const waits = waitsFor(job) ?? "Waits for its turn";
  return (
    <span className="text-muted">
      {waits}
      {before > 0 ? `; ${before} ${before === 1 ? "is" : "are"} before it` : "; it is the next of its kind"}.
    </span>
  );
}

/** The state of something in a table cell: ready, or its job's state with the share done, or why it failed. */
export function JobCell({
  job: embedded,
  ready,
  done,
}: {
  job: Job | null | undefined;
  /** Whether the thing is complete; a job that succeeded long ago and a thing without a job are. */
  ready?: boolean;
  /** It is the job itself that is shown: it is done, not ready. */
  done?: boolean;
}) {
  const job = useJob(embedded);
  if (!job || (job.state === "succeeded" && ready !== false))
    return <StateBadge state={done ? "succeeded" : "ready"} />;
  const share = job.state === "running" ? shareDone(job) : null;
  if (job.state === "failed" && job.error)
    return (
      <span {...tip([job.error.message, job.error.hint].filter(Boolean).join("\n"))}>
        <StateBadge state="failed" />
      </span>
    );
  return (
    <span className="inline-flex items-center gap-2" {...tip(waitsFor(job))}>
      <StateBadge
        state={job.state}
        word={
          share === null
            ? undefined
            : `${format.done(share)}${job.seconds_left ? ` · ${format.duration(job.seconds_left)} left` : ""}`
        }
      />
    </span>
  );
}

/** The job under a page's header while it works, or the reason why it did not: bar, rate, time left, a way to stop. */
export function JobBanner({
  job: embedded,
  onCancel,
  onRetry,
}: {
  job: Job | null | undefined;
  onCancel: (job: Job) => void;
  onRetry: (job: Job) => void;
}) {
  const job = useJob(embedded);
  if (!job || job.state === "succeeded") return null;
  const log = (
    <Link to="/jobs/$id" params={{ id: job.id }} className="shrink-0 link">
      Log
    </Link>
  );
  const action = (label: string, run: () => void) => (
    <button type="button" onClick={run} className="shrink-0 rounded-[3px] link">
      {label}
    </button>
  );
  if (isActive(job))
    return (
      <div className="flex items-center gap-4 border-b border-line bg-surface px-5 py-2.5">
        <StateBadge state={job.state} />
        <div className="min-w-0 flex-1">
          {job.state === "queued" ? (
            <QueuedWords job={job} />
          ) : (
            <ProgressBar progress={job} label={job.title} />
          )}
        </div>
        {log}
        {canPause(job) && action("Pause", () => void pauseJob(job))}
        {job.state === "paused" && action("Resume", () => void resumeJob(job))}
        {job.state !== "cancelling" && action("Cancel", () => onCancel(job))}
      </div>
    );
  return (
    <div
      role="alert"
      className={`flex items-start gap-4 border-b border-line px-5 py-2.5 ${job.state === "failed" ? "bg-failed-wash" : "bg-surface"}`}
    >
      <StateBadge state={job.state} />
      <div className="min-w-0 flex-1">
        {job.error?.message ?? "It was cancelled before its end."}
        {job.error?.hint && <div className="text-muted">{job.error.hint}</div>}
      </div>
      {log}
      {action("Retry", () => onRetry(job))}
    </div>
  );
}
