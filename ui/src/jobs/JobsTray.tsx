import { Link } from "@tanstack/react-router";
import { Ban, ListTree } from "lucide-react";
import { Popover } from "radix-ui";
import { format, IconButton, ProgressBar, StateBadge } from "@/kit";
import { cancelJob } from "./actions";
import { useActiveJobs } from "./live";

/** At the foot of the rail: how many jobs there are, and the one nearest to done. Click for all. */
export function JobsTray() {
  const jobs = useActiveJobs();
  const nearest = jobs[0];
  if (!nearest)
    return (
      <Link
        to="/jobs"
        className="mx-2 mb-1 flex h-7 items-center gap-2 rounded-[5px] px-2 text-muted hover:bg-hover hover:text-ink"
      >
        <ListTree size={15} aria-hidden="true" />
        No jobs running
      </Link>
    );
  return (
    <Popover.Root>
      <Popover.Trigger className="mx-2 mb-1 block rounded-[6px] border border-line bg-surface p-2 text-left hover:bg-hover">
        <span className="mb-1 flex items-center gap-2">
          <span className="min-w-0 flex-1 truncate">{nearest.title}</span>
          <span className="text-2xs text-muted">{jobs.length === 1 ? "1 job" : `${jobs.length} jobs`}</span>
        </span>
        {nearest.state === "queued" ? (
          <StateBadge state="queued" />
        ) : (
          <ProgressBar progress={nearest} label={nearest.title} words={false} />
        )}
        {nearest.state !== "queued" && (
          <span className="mt-1 flex justify-between text-2xs text-muted">
            <span>
              {nearest.rate ? format.rate(nearest.rate, nearest.unit ?? "") : (nearest.stage ?? "")}
            </span>
            <span>{nearest.seconds_left != null && `${format.duration(nearest.seconds_left)} left`}</span>
          </span>
        )}
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          side="right"
          align="end"
          sideOffset={6}
          className="z-40 w-[380px] max-w-[92vw] rounded-[8px] border border-line bg-raised shadow-pop"
        >
          <ul className="max-h-[60vh] overflow-y-auto p-2">
            {jobs.map((job) => (
              <li key={job.id} className="flex items-start gap-2 rounded-[5px] p-2">
                <div className="min-w-0 flex-1">
                  <Link to="/jobs/$id" params={{ id: job.id }} className="block truncate hover:underline">
                    {job.title}
                  </Link>
                  {job.state === "running" ? (
                    <ProgressBar progress={job} label={job.title} />
                  ) : (
                    <StateBadge state={job.state} />
                  )}
                </div>
                <IconButton
                  label="Cancel"
                  disabled={job.state === "cancelling"}
                  onClick={() => void cancelJob(job)}
                >
                  <Ban size={14} />
                </IconButton>
              </li>
            ))}
          </ul>
          <div className="border-t border-line px-4 py-2">
            <Link to="/jobs" className="link">
              All jobs
            </Link>
          </div>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}
