import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { FileText } from "lucide-react";
import { useMemo, useState } from "react";
import { api, body } from "@/api/client";
import { useRefetchOn } from "@/api/useChannel";
import { isActive } from "@/jobs/live";
import { Button, Empty, ErrorNote, format, PageHeader, SkeletonLines, useUrlState } from "@/kit";
import { ComparedRuns } from "./ComparedRuns";
import type { Comparison } from "./comparison";
import { ReportDialog } from "./ReportDialog";

/** Chosen runs side by side; which they are stands in the address. */
export function ComparePage() {
  const [text] = useUrlState("ids", "");
  const [reporting, setReporting] = useState(false);
  const ids = useMemo(() => text.split(",").filter(Boolean), [text]);
  const { data, error, refetch } = useComparison({ ids });
  return (
    <>
      <PageHeader
        crumbs={[{ label: "Training", to: "/trainings" }]}
        title={ids.length > 0 ? `${format.plural(ids.length, "run")} compared` : "Compare runs"}
        actions={
          ids.length > 0 && (
            <Button icon={<FileText size={14} />} onClick={() => setReporting(true)}>
              Report
            </Button>
          )
        }
      />
      {ids.length === 0 ? (
        <Empty title="No runs chosen">Tick runs in the list and choose Compare.</Empty>
      ) : error && !data ? (
        <div className="p-5">
          <ErrorNote error={error} onRetry={() => void refetch()} />
        </div>
      ) : data ? (
        <ComparedRuns data={data} />
      ) : (
        <div className="p-5">
          <SkeletonLines lines={8} />
        </div>
      )}
      <ReportDialog open={reporting} onClose={() => setReporting(false)} ids={ids} />
    </>
  );
}

/** Runs side by side, by their ids or as a sweep; figures of those under way are read anew now and then. */
export function useComparison({ ids, sweep }: { ids?: string[]; sweep?: string }) {
  useRefetchOn("trainings", ["trainings", "compare"]);
  return useQuery<Comparison>({
    queryKey: ["trainings", "compare", ids?.join() ?? "", sweep ?? ""],
    enabled: sweep !== undefined || (ids?.length ?? 0) > 0,
    placeholderData: keepPreviousData,
    refetchInterval: (query) =>
      query.state.data?.trainings.some((run) => isActive(run.job)) ? 5_000 : false,
    queryFn: ({ signal }): Promise<Comparison> =>
      body(api.GET("/api/v1/trainings/compare", { params: { query: { ids, sweep } }, signal })),
  });
}
