import { useQuery } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { api, body } from "@/api/client";
import { useRefetchOn } from "@/api/useChannel";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobBanner, JobCell } from "@/jobs/JobState";
import { Empty, ErrorNote, PageHeader, SkeletonLines, Tabs, useUrlState } from "@/kit";
import { CacheActions, TrainOnIt } from "./CacheActions";
import { CacheFacts, CacheHistory } from "./CacheFacts";
import { Statistics } from "./Statistics";

const CRUMBS = [{ label: "Activations", to: "/activations" }];

/** One cache: what its activations look like, what it holds, and what became of it. */
export function CachePage() {
  const { id } = useParams({ from: "/activations/$id" });
  const navigate = useNavigate();
  const [hook] = useUrlState("hook", "");
  const {
    data: cache,
    error,
    refetch,
  } = useQuery({
    queryKey: ["activation_caches", id],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/activations/{cache_id}", { params: { path: { cache_id: id } }, signal })),
  });
  useRefetchOn(`activation_caches/${id}`, ["activation_caches", id]);
  if (error || !cache)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="Activations" />
        <div className="p-5">
          {error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <SkeletonLines lines={6} />}
        </div>
      </>
    );
  return (
    <>
      <PageHeader
        crumbs={CRUMBS}
        title={cache.name}
        state={<JobCell job={cache.job} ready={cache.ready} />}
        actions={
          <>
            {cache.ready && <TrainOnIt cache={cache} hook={hook || undefined} />}
            <CacheActions cache={cache} onGone={() => navigate({ to: "/activations" })} />
          </>
        }
      />
      <JobBanner job={cache.job} onCancel={cancelJob} onRetry={retryJob} />
      <Tabs
        label="Activation cache"
        tabs={[
          {
            id: "statistics",
            label: "Statistics",
            content: () =>
              cache.statistics ? (
                <Statistics cache={cache} statistics={cache.statistics} />
              ) : (
                <Empty title="Not there yet">
                  Statistics are counted while the activations are harvested, and shown when that is done.
                </Empty>
              ),
          },
          {
            id: "overview",
            label: "Overview",
            content: () => (
              <div className="grid gap-8 p-5 lg:grid-cols-2">
                <CacheFacts cache={cache} />
                <CacheHistory cache={cache} />
              </div>
            ),
          },
        ]}
      />
    </>
  );
}
