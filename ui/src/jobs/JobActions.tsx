import { Ban, Pause, Play, RotateCw } from "lucide-react";
import { IconButton } from "@/kit";
import { cancelJob, pauseJob, resumeJob, retryJob } from "./actions";
import { canPause, isActive, type Job, useJob } from "./live";

/** Pause, resume and cancel while it runs, retry once it failed. */
export function JobActions({ job: embedded }: { job: Job }) {
  const job = useJob(embedded) ?? embedded;
  if (isActive(job))
    return (
      <>
        {job.state === "paused" && (
          <IconButton label="Resume job" onClick={() => void resumeJob(job)}>
            <Play size={15} />
          </IconButton>
        )}
        {canPause(job) && (
          <IconButton label="Pause job" onClick={() => void pauseJob(job)}>
            <Pause size={15} />
          </IconButton>
        )}
        <IconButton
          label="Cancel job"
          disabled={job.state === "cancelling"}
          onClick={() => void cancelJob(job)}
        >
          <Ban size={15} />
        </IconButton>
      </>
    );
  if (job.state === "succeeded") return null;
  return (
    <IconButton label="Retry job" onClick={() => void retryJob(job)}>
      <RotateCw size={15} />
    </IconButton>
  );
}
