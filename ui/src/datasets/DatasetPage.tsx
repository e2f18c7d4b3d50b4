import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { Pencil, Trash2 } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { useRefetchOn } from "@/api/useChannel";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobBanner, JobCell } from "@/jobs/JobState";
import {
  DeleteDialog,
  ErrorNote,
  Field,
  IconButton,
  PageHeader,
  RenameDialog,
  SkeletonLines,
  Tabs,
} from "@/kit";
import { type Dataset, DatasetFacts } from "./DatasetFacts";
import { Samples } from "./Samples";
import { Tokenizations } from "./Tokenizations";

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
  if (!dataset)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="Data set" />
        <div className="px-5 py-4">
          {error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <SkeletonLines lines={6} />}
        </div>
      </>
    );
  const change = async (wanted: { name?: string; text_column?: string }) => {
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
            content: () => (
              <div className="flex max-w-2xl flex-col gap-5 p-5">
                <DatasetFacts dataset={dataset} />
                <TextColumn dataset={dataset} onChange={(column) => change({ text_column: column })} />
              </div>
            ),
          },
          {
            id: "samples",
            label: "Samples",
            count: dataset.rows,
            content: () => <Samples dataset={dataset} />,
          },
          {
            id: "tokenizations",
            label: "Tokenizations",
            count: dataset.tokenization_count,
            content: () => <Tokenizations dataset={dataset} />,
          },
        ]}
      />
      <RenameDialog
        open={renaming}
        onClose={() => setRenaming(false)}
        name={dataset.name}
        onRename={(name) => change({ name })}
      />
      <DeleteDialog
        open={deleting}
        onClose={() => setDeleting(false)}
        noun="data set"
        name={dataset.name}
        bytes={dataset.bytes}
        readUsers={() => body(api.GET("/api/v1/datasets/{dataset_id}/users", at))}
        onDelete={async () => {
          await api.DELETE("/api/v1/datasets/{dataset_id}", {
            params: { path: { dataset_id: id }, query: { force: true } },
          });
          await navigate({ to: "/datasets" });
          client.removeQueries({ queryKey: ["datasets", id] });
          void client.invalidateQueries({ queryKey: ["datasets"] });
        }}
      />
    </>
  );
}

/** Which column is the text: what tokenizations made from now on read. */
function TextColumn({
  dataset,
  onChange,
}: {
  dataset: Dataset;
  onChange: (column: string) => Promise<void>;
}) {
  const texts = dataset.columns.filter((column) => /string/.test(column.type));
  if (!dataset.ready || texts.length < 2) return null;
  return (
    <div className="max-w-64">
      <Field id="text-column" label="Text column" hint="Tokenizations made from now on read this column.">
        <select
          id="text-column"
          className="field"
          value={dataset.text_column ?? ""}
          onChange={async (event) => {
            try {
              await onChange(event.target.value);
            } catch (error) {
              toast.error(Problem.from(error).detail);
            }
          }}
        >
          {texts.map((column) => (
            <option key={column.name}>{column.name}</option>
          ))}
        </select>
      </Field>
    </div>
  );
}
