import { toast } from "sonner";
import { api, body, queryClient } from "@/api/client";
import { Problem } from "@/api/problem";
import type { Job } from "./live";

async function act(work: Promise<unknown>): Promise<void> {
  try {
    await work;
    void queryClient.invalidateQueries({ queryKey: ["jobs"] });
  } catch (error) {
    const problem = Problem.from(error);
    toast.error(problem.detail, { description: problem.hint ?? undefined });
  }
}

const at = (job: Pick<Job, "id">) => ({ params: { path: { job_id: job.id } } });

export const cancelJob = (job: Pick<Job, "id">) =>
  act(body(api.POST("/api/v1/jobs/{job_id}/cancel", at(job))));
export const retryJob = (job: Pick<Job, "id">) => act(body(api.POST("/api/v1/jobs/{job_id}/retry", at(job))));
/** Move a job that waits: higher runs first. */
export const prioritiseJob = (job: Pick<Job, "id">, priority: number) =>
  act(body(api.PATCH("/api/v1/jobs/{job_id}", { ...at(job), body: { priority } })));
/** Leave the queue or the work for now; what is done stays done. */
export const pauseJob = (job: Pick<Job, "id">) => act(body(api.POST("/api/v1/jobs/{job_id}/pause", at(job))));
export const resumeJob = (job: Pick<Job, "id">) =>
  act(body(api.POST("/api/v1/jobs/{job_id}/resume", at(job))));
/** End gracefully and keep what there is (a training saves its SAE). */
export const stopJob = (job: Pick<Job, "id">) => act(body(api.POST("/api/v1/jobs/{job_id}/stop", at(job))));
