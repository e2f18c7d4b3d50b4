import { Ban, RotateCw } from "lucide-react";
import { IconButton } from "@/kit";
import { cancelJob, retryJob } from "./actions";
import { isActive, type Job, useJob } from "./live";

/** Cancel while it runs, retry once it failed. */
export function JobActions({ job: embedded }: { job: Job }) {
  const job = useJob(embedded) ?? embedded;
  if (isActive(job))
    return (
      <IconButton
        label="Cancel job"
        disabled={job.state === "cancelling"}
        onClick={() => void cancelJob(job)}
      >
        <Ban size={15} />
      </IconButton>
    );
  if (job.state === "succeeded") return null;
  return (
    <IconButton label="Retry job" onClick={() => void retryJob(job)}>
      <RotateCw size={15} />
    </IconButton>
  );
}
