import { Link } from "@tanstack/react-router";
import { ArrowDown, ArrowUp } from "lucide-react";
import type { ReactNode } from "react";
import { Code, Facts, format, IconButton, ProgressBar, RelativeTime } from "@/kit";
import { prioritiseJob } from "./actions";
import { JobCell, waitsFor } from "./JobState";
import { type Job, useJob } from "./live";

/** Where the page of a job's subject is, for the tables that have one. */
const PAGES: Record<string, string> = {
  datasets: "/datasets/$id",
  dataset_statistics: "/datasets/$id",
  dataset_search: "/datasets/$id",
  models: "/models/$id",
  sweeps: "/sweeps/$id",
  trainings: "/trainings/$id",
  saes: "/saes/$id",
  extractions: "/features/$id",
};

/** A job: progress or outcome, and its facts. */
export function JobDetail({
  job: embedded,
  linked = false,
}: {
  job: Job /** With a link to its page. */;
  linked?: boolean;
}) {
  const job = useJob(embedded) ?? embedded;
  const [table = "", id = ""] = job.subject.split("/");
  const page = PAGES[table];
  return (
    <div className="flex flex-col gap-4">
      {job.state === "running" ? (
        <ProgressBar progress={job} label={job.title} />
      ) : (
        <JobCell job={job} done />
      )}
      {waitsFor(job) && <p className="text-muted">{waitsFor(job)}.</p>}
      {job.error && (
        <div role="alert" className="rounded-[6px] bg-failed-wash px-3 py-2">
          <div className="font-medium">{job.error.message}</div>
          {job.error.hint && <div className="text-muted">{job.error.hint}</div>}
        </div>
      )}
      <Facts
        facts={[
          ["Id", <Code key="id">{job.id}</Code>],
          ["Kind", <code key="kind">{job.kind}</code>],
          [
            "For",
            page ? (
              <Link key="subject" to={page} params={{ id } as never} className="link">
                {job.subject}
              </Link>
            ) : (
              <code key="subject">{job.subject}</code>
            ),
          ],
          ["Attempt", job.attempt],
          ["Priority", <Priority key="priority" job={job} />],
          ...(job.memory_bytes
            ? ([["Expected memory", format.bytes(job.memory_bytes)]] as [string, ReactNode][])
            : []),
          ["Asked for", <RelativeTime key="created" at={job.created_at} />],
          ["Started", <RelativeTime key="started" at={job.started_at} />],
          ["Ended", <RelativeTime key="finished" at={job.finished_at} />],
          [
            "After an interruption",
            job.resumable ? "continues from its last checkpoint" : "is to be retried",
          ],
        ]}
      />
      {linked && (
        <Link to="/jobs/$id" params={{ id: job.id }} className="link">
          Log
        </Link>
      )}
    </div>
  );
}

/** Its place in the queue: higher runs first, and what waits can be moved. */
function Priority({ job }: { job: Job }) {
  const waits = job.state === "queued" || job.state === "paused";
  return (
    <span className="inline-flex items-center gap-1 tabular-nums">
      {job.priority}
      {waits && (
        <>
          <IconButton
            label="Run sooner"
            size="size-5"
            disabled={job.priority >= 100}
            onClick={() => void prioritiseJob(job, Math.min(100, job.priority + 1))}
          >
            <ArrowUp size={13} />
          </IconButton>
          <IconButton
            label="Run later"
            size="size-5"
            disabled={job.priority <= -100}
            onClick={() => void prioritiseJob(job, Math.max(-100, job.priority - 1))}
          >
            <ArrowDown size={13} />
          </IconButton>
        </>
      )}
    </span>
  );
}
