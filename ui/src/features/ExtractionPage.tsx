import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { MoreHorizontal, Pencil, Tags, Trash2 } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobBanner, JobCell } from "@/jobs/JobState";
import {
  Button,
  DeleteDialog,
  Empty,
  ErrorNote,
  IconButton,
  Menu,
  PageHeader,
  RenameDialog,
  SkeletonLines,
  Tabs,
  useUrlState,
} from "@/kit";
import { LabelDialog } from "@/labels/LabelDialog";
import { LabellingRuns } from "@/labels/LabellingRuns";
import { FeatureTable } from "./FeatureTable";
import type { Extraction } from "./query";
import { Summary } from "./Summary";
import { useFollow } from "./useFollow";

const CRUMBS = [{ label: "Features", to: "/features" }];

/** The features of one extraction. */
export function ExtractionPage() {
  const { id } = useParams({ from: "/features/$id" });
  const { data, error, refetch } = useQuery({
    queryKey: ["extractions", id],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/extractions/{extraction_id}", { params: { path: { extraction_id: id } }, signal }),
      ),
  });
  useFollow(id);
  if (!data)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="Features" />
        <div className="px-5 py-4">
          {error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <SkeletonLines lines={8} />}
        </div>
      </>
    );
  const waiting = (
    <Empty title="The features are not there yet">
      One pass over the tokens finds what each latent responds to; the bar above shows how far it is.
    </Empty>
  );
  return (
    <>
      <PageHeader
        crumbs={CRUMBS}
        title={data.name}
        state={
          <>
            <JobCell job={data.job} ready={data.ready} />
            <Link to="/saes/$id" params={{ id: data.sae_id }} className="hidden link md:inline">
              {data.sae_name}
            </Link>
          </>
        }
        actions={<Actions extraction={data} />}
      />
      <JobBanner job={data.job} onCancel={cancelJob} onRetry={retryJob} />
      <Tabs
        key={id}
        label="Features"
        tabs={[
          {
            id: "features",
            label: "Features",
            count: data.ready ? data.d_sae : null,
            content: () => (data.ready ? <FeatureTable extraction={data} /> : waiting),
          },
          {
            id: "labelling",
            label: "Labelling",
            content: () => (data.ready ? <LabellingRuns extractionId={id} /> : waiting),
          },
          {
            id: "summary",
            label: "Summary",
            content: () => <Summary extraction={data} />,
          },
        ]}
      />
    </>
  );
}

function Actions({ extraction }: { extraction: Extraction }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [labelling, setLabelling] = useUrlState("label", false);
  const [renaming, setRenaming] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const at = { params: { path: { extraction_id: extraction.id } } };
  return (
    <>
      <Button
        look="primary"
        icon={<Tags size={15} />}
        disabled={!extraction.ready}
        onClick={() => setLabelling(true)}
      >
        Label features
      </Button>
      <Menu
        items={[
          { label: "Rename", icon: <Pencil size={14} />, onSelect: () => setRenaming(true) },
          {
            label: "Delete",
            icon: <Trash2 size={14} />,
            danger: true,
            apart: true,
            onSelect: () => setDeleting(true),
          },
        ]}
      >
        <IconButton label="More actions">
          <MoreHorizontal size={16} />
        </IconButton>
      </Menu>
      <LabelDialog extraction={extraction} open={labelling} onClose={() => setLabelling(false)} />
      <RenameDialog
        open={renaming}
        onClose={() => setRenaming(false)}
        name={extraction.name}
        onRename={async (name) => {
          await body(api.PATCH("/api/v1/extractions/{extraction_id}", { ...at, body: { name } }));
          await client.invalidateQueries({ queryKey: ["extractions"] });
        }}
      />
      <DeleteDialog
        open={deleting}
        onClose={() => setDeleting(false)}
        noun="extraction"
        name={extraction.name}
        bytes={extraction.bytes}
        readUsers={async () =>
          extraction.labelled > 0
            ? [{ kind: "labels", id: "labels", name: `the labels of ${extraction.labelled} features` }]
            : []
        }
        onDelete={async () => {
          await api.DELETE("/api/v1/extractions/{extraction_id}", at);
          await navigate({ to: "/features" });
          client.removeQueries({ queryKey: ["extractions", extraction.id] });
          void client.invalidateQueries({ queryKey: ["extractions"] });
        }}
      />
    </>
  );
}
