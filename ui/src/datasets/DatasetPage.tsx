import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { Pencil, Star, Trash2 } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useRefetchOn } from "@/api/useChannel";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobBanner, JobCell } from "@/jobs/JobState";
import { ConfirmDialog, ErrorNote, IconButton, PageHeader, RenameDialog, SkeletonLines, Tabs } from "@/kit";
import { Consequences, useConsequences } from "./Consequences";
import { DatasetStatistics } from "./DatasetStatistics";
import { Overview } from "./Overview";
import { Samples } from "./Samples";
import { Tokenizations } from "./Tokenizations";
import { Uses } from "./Uses";

const CRUMBS = [{ label: "Data sets", to: "/datasets" }];

export function DatasetPage() {
  const { id } = useParams({ from: "/datasets/$id" });
  const client = useQueryClient();
  const navigate = useNavigate();
  const [deleting, setDeleting] = useState(false);
  const [renaming, setRenaming] = useState(false);
  const at = { params: { path: { dataset_id: id } } };
  const {
    data: dataset,
    error,
    refetch,
  } = useQuery({
    queryKey: ["datasets", id],
    queryFn: ({ signal }) => body(api.GET("/api/v1/datasets/{dataset_id}", { ...at, signal })),
  });
  useRefetchOn(`datasets/${id}`, ["datasets", id]);
  const taken = useConsequences([id], deleting);
  if (!dataset)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="Data set" />
        <div className="px-5 py-4">
          {error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <SkeletonLines lines={6} />}
        </div>
      </>
    );
  const change = async (wanted: components["schemas"]["DatasetChange"]) => {
    await body(api.PATCH("/api/v1/datasets/{dataset_id}", { ...at, body: wanted }));
    await client.invalidateQueries({ queryKey: ["datasets"] });
  };
  return (
    <>
      <PageHeader
        crumbs={CRUMBS}
        title={dataset.name}
        state={<JobCell job={dataset.job} ready={dataset.ready} />}
        actions={
          <>
            <IconButton
              label={dataset.favourite ? "Take the star away" : "Star"}
              aria-pressed={dataset.favourite}
              onClick={() => void change({ favourite: !dataset.favourite })}
            >
              <Star
                size={15}
                className={dataset.favourite ? "text-warning" : ""}
                fill={dataset.favourite ? "currentColor" : "none"}
              />
            </IconButton>
            <IconButton label="Rename" onClick={() => setRenaming(true)}>
              <Pencil size={15} />
            </IconButton>
            <IconButton label="Delete data set" onClick={() => setDeleting(true)}>
              <Trash2 size={15} />
            </IconButton>
          </>
        }
      />
      <JobBanner job={dataset.job} onCancel={cancelJob} onRetry={retryJob} />
      <Tabs
        label="Data set"
        tabs={[
          {
            id: "overview",
            label: "Overview",
            content: () => <Overview dataset={dataset} onChange={change} />,
          },
          {
            id: "samples",
            label: "Samples",
            count: dataset.rows,
            content: () => <Samples dataset={dataset} />,
          },
          {
            id: "statistics",
            label: "Statistics",
            content: () => <DatasetStatistics dataset={dataset} />,
          },
          {
            id: "tokenizations",
            label: "Tokenizations",
            count: dataset.tokenization_count,
            content: () => <Tokenizations dataset={dataset} />,
          },
          {
            id: "uses",
            label: "Where used",
            content: () => <Uses dataset={dataset} />,
          },
        ]}
      />
      <RenameDialog
        open={renaming}
        onClose={() => setRenaming(false)}
        name={dataset.name}
        onRename={(name) => change({ name })}
      />
      <ConfirmDialog
        open={deleting}
        onClose={() => setDeleting(false)}
        title={`Delete data set “${dataset.name}”?`}
        action={taken.data && taken.data.count > 0 ? `Delete all ${taken.data.count + 1}` : "Delete data set"}
        onConfirm={async () => {
          await api.DELETE("/api/v1/datasets/{dataset_id}", {
            params: { path: { dataset_id: id }, query: { force: true } },
          });
          await navigate({ to: "/datasets" });
          client.removeQueries({ queryKey: ["datasets", id] });
          void client.invalidateQueries({ queryKey: ["datasets"] });
        }}
      >
        <Consequences taken={taken} />
      </ConfirmDialog>
    </>
  );
}
