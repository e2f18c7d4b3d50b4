import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { api, body } from "@/api/client";
import { ErrorNote, PageHeader, SkeletonLines } from "@/kit";
import { JobActions } from "./JobActions";
import { JobDetail } from "./JobDetail";
import { JobLog } from "./JobLog";
import { JobCell } from "./JobState";

const CRUMBS = [{ label: "Jobs", to: "/jobs" }];

export function JobPage() {
  const { id } = useParams({ from: "/jobs/$id" });
  const {
    data: job,
    error,
    refetch,
  } = useQuery({
    queryKey: ["jobs", id],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id: id } }, signal })),
  });
  if (!job)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="Job" />
        <div className="px-5 py-4">
          {error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <SkeletonLines lines={6} />}
        </div>
      </>
    );
  return (
    <>
      <PageHeader
        crumbs={CRUMBS}
        title={job.title}
        state={<JobCell job={job} done />}
        actions={<JobActions job={job} />}
      />
      <div className="flex min-h-0 flex-1 flex-col overflow-y-auto lg:flex-row lg:overflow-hidden">
        <div className="shrink-0 border-line p-5 lg:w-[360px] lg:overflow-y-auto lg:border-r">
          <JobDetail job={job} />
        </div>
        <JobLog job={job} />
      </div>
    </>
  );
}
