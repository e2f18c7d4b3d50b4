import { useQuery } from "@tanstack/react-query";
import { Navigate, useParams } from "@tanstack/react-router";
import { BookmarkPlus, CirclePause, FileText, Play, Save } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { useRefetchOn } from "@/api/useChannel";
import { cancelJob, pauseJob, retryJob, stopJob } from "@/jobs/actions";
import { JobBanner, JobCell } from "@/jobs/JobState";
import { useJob } from "@/jobs/live";
import { Button, ErrorNote, format, PageHeader, SkeletonLines } from "@/kit";
import { SaveTemplate } from "@/templates/SaveTemplate";
import { ComparedRuns } from "./ComparedRuns";
import { useComparison } from "./ComparePage";
import { ReportDialog } from "./ReportDialog";

/** The trainings of one pass over the activations, side by side; a training that is alone has its own page. */
export function SweepPage() {
  const { id } = useParams({ from: "/sweeps/$id" });
  const [reporting, setReporting] = useState(false);
  const [saving, setSaving] = useState(false);
  const sweep = useQuery({
    queryKey: ["trainings", "sweep", id],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/sweeps/{sweep_id}", { params: { path: { sweep_id: id } }, signal })),
  });
  useRefetchOn(`sweeps/${id}`, ["trainings", "sweep", id]);
  const compared = useComparison({ sweep: id });
  const job = useJob(sweep.data?.job);
  const trainings = sweep.data?.trainings ?? [];
  const only = trainings.length === 1 ? trainings[0] : undefined;
  if (only) return <Navigate to="/trainings/$id" params={{ id: only.id }} replace />;
  const error = sweep.error ?? compared.error;
  const first = trainings[0];
  const unfinished = trainings.some((run) => run.tokens_trained < run.config.total_tokens && !run.error);
  const resume = async () => {
    try {
      await body(
        api.POST("/api/v1/trainings/{training_id}/resume", {
          params: { path: { training_id: first?.id ?? "" } },
        }),
      );
      await sweep.refetch();
    } catch (thrown) {
      const problem = Problem.from(thrown);
      toast.error(problem.detail, { description: problem.hint ?? undefined });
    }
  };
  return (
    <>
      <PageHeader
        crumbs={[{ label: "Training", to: "/trainings" }]}
        title={sweep.data?.name ?? "Sweep"}
        state={
          sweep.data && (
            <span className="flex items-center gap-3">
              <JobCell job={sweep.data.job} done />
              <span className="text-muted">{format.plural(trainings.length, "SAE")} in one pass</span>
            </span>
          )
        }
        actions={
          <>
            {job?.state === "running" && (
              <>
                <Button
                  icon={<CirclePause size={15} />}
                  hint="Writes checkpoints and frees the machine; all go on later from there"
                  onClick={() => void pauseJob(job)}
                >
                  Pause
                </Button>
                <Button
                  icon={<Save size={15} />}
                  hint="Ends after this step; all SAEs as they are then are measured and kept"
                  onClick={() => void stopJob(job)}
                >
                  Stop and keep
                </Button>
              </>
            )}
            {job && unfinished && ["paused", "failed", "cancelled", "succeeded"].includes(job.state) && (
              <Button
                icon={<Play size={15} />}
                hint="All go on from their newest checkpoints"
                onClick={() => void resume()}
              >
                Resume
              </Button>
            )}
            {sweep.data?.asked && (
              <Button
                icon={<BookmarkPlus size={14} />}
                hint="Keep hyperparameters and grid under a name, to start the same sweep on other tokens"
                onClick={() => setSaving(true)}
              >
                Save as template
              </Button>
            )}
            {first && (
              <Button icon={<FileText size={14} />} onClick={() => setReporting(true)}>
                Report
              </Button>
            )}
          </>
        }
      />
      <JobBanner
        job={sweep.data?.job}
        onCancel={(one) => void cancelJob(one)}
        onRetry={(one) => void retryJob(one)}
      />
      {error && !compared.data ? (
        <div className="p-5">
          <ErrorNote
            error={error}
            onRetry={() => {
              void sweep.refetch();
              void compared.refetch();
            }}
          />
        </div>
      ) : compared.data ? (
        <ComparedRuns data={compared.data} />
      ) : (
        <div className="p-5">
          <SkeletonLines lines={8} />
        </div>
      )}
      {sweep.data?.asked && (
        <SaveTemplate
          open={saving}
          onClose={() => setSaving(false)}
          kind="training"
          name={sweep.data.name}
          settings={() => {
            const { harvest, ...asked } = { ...sweep.data.asked };
            return first?.cache_id ? asked : { ...asked, harvest };
          }}
        />
      )}
      <ReportDialog
        open={reporting}
        onClose={() => setReporting(false)}
        ids={trainings.map((run) => run.id)}
      />
    </>
  );
}
