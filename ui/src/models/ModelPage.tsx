import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { Pencil, Trash2 } from "lucide-react";
import { useState } from "react";
import { Caches } from "@/activations/Caches";
import { api, body } from "@/api/client";
import { useRefetchOn } from "@/api/useChannel";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobBanner, JobCell } from "@/jobs/JobState";
import { DeleteDialog, ErrorNote, IconButton, PageHeader, RenameDialog, SkeletonLines, Tabs } from "@/kit";
import { ArchitectureTree } from "./ArchitectureTree";
import { Configuration } from "./Configuration";
import { HookPoints } from "./HookPoints";
import { LogitLens } from "./LogitLens";
import { Overview } from "./Overview";
import { Playground } from "./Playground";
import { TokenizerPlayground } from "./TokenizerPlayground";

const CRUMBS = [{ label: "Models", to: "/models" }];

export function ModelPage() {
  const { id } = useParams({ from: "/models/$id" });
  const client = useQueryClient();
  const navigate = useNavigate();
  const [deleting, setDeleting] = useState(false);
  const [renaming, setRenaming] = useState(false);
  const at = { params: { path: { model_id: id } } };
  const {
    data: model,
    error,
    refetch,
  } = useQuery({
    queryKey: ["models", id],
    queryFn: ({ signal }) => body(api.GET("/api/v1/models/{model_id}", { ...at, signal })),
  });
  useRefetchOn(`models/${id}`, ["models", id]);
  if (error)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="Model" />
        <div className="p-5">
          <ErrorNote error={error} onRetry={() => void refetch()} />
        </div>
      </>
    );
  if (!model)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="Model" />
        <div className="px-5 py-4">
          <SkeletonLines lines={6} />
        </div>
      </>
    );
  return (
    <>
      <PageHeader
        crumbs={CRUMBS}
        title={model.name}
        state={<JobCell job={model.job} ready={model.ready} />}
        actions={
          <>
            <IconButton label="Rename" onClick={() => setRenaming(true)}>
              <Pencil size={15} />
            </IconButton>
            <IconButton label="Delete model" onClick={() => setDeleting(true)}>
              <Trash2 size={15} />
            </IconButton>
          </>
        }
      />
      <JobBanner job={model.job} onCancel={cancelJob} onRetry={retryJob} />
      <Tabs
        label="Model"
        tabs={[
          {
            id: "overview",
            label: "Overview",
            content: () => <Overview model={model} />,
          },
          {
            id: "architecture",
            label: "Architecture",
            content: () => <ArchitectureTree modelId={id} ready={model.ready} />,
          },
          {
            id: "hooks",
            label: "Hook points",
            count: model.hook_points.length,
            content: () => <HookPoints model={model} />,
          },
          {
            id: "configuration",
            label: "Configuration",
            content: () => <Configuration modelId={id} ready={model.ready} />,
          },
          {
            id: "tokenizer",
            label: "Tokenizer",
            content: () => <TokenizerPlayground modelId={id} ready={model.ready} />,
          },
          {
            id: "playground",
            label: "Playground",
            content: () => <Playground model={model} />,
          },
          {
            id: "lens",
            label: "Logit lens",
            content: () => <LogitLens model={model} />,
          },
          {
            id: "activations",
            label: "Activations",
            content: () => <Caches model={model} />,
          },
        ]}
      />
      <RenameDialog
        open={renaming}
        onClose={() => setRenaming(false)}
        name={model.name}
        onRename={async (name) => {
          await body(api.PATCH("/api/v1/models/{model_id}", { ...at, body: { name } }));
          await client.invalidateQueries({ queryKey: ["models"] });
        }}
      />
      <DeleteDialog
        open={deleting}
        onClose={() => setDeleting(false)}
        noun="model"
        name={model.name}
        bytes={model.bytes}
        readUsers={() => body(api.GET("/api/v1/models/{model_id}/users", at))}
        onDelete={async () => {
          await api.DELETE("/api/v1/models/{model_id}", {
            params: { path: { model_id: id }, query: { force: true } },
          });
          await navigate({ to: "/models" });
          client.removeQueries({ queryKey: ["models", id] });
          void client.invalidateQueries({ queryKey: ["models"] });
        }}
      />
    </>
  );
}
