import { useQueryClient } from "@tanstack/react-query";
import { Ban, Plus, RotateCw, Trash2 } from "lucide-react";
import { type ReactNode, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useRefetchOn } from "@/api/useChannel";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobCell } from "@/jobs/JobState";
import { isActive, useJob } from "@/jobs/live";
import {
  Button,
  Bytes,
  Code,
  type Column,
  DataTable,
  DeleteDialog,
  Empty,
  Facts,
  format,
  IconButton,
  Num,
  ProgressBar,
  RelativeTime,
  Section,
  SettingFacts,
  SidePanel,
  useKeys,
  usePages,
  useUrlState,
} from "@/kit";
import { HarvestDialog } from "./HarvestDialog";

type Cache = components["schemas"]["CacheOut"];
type Model = components["schemas"]["ModelOut"];

const COLUMNS: Column<Cache>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(160px, 2fr)",
    sort: "name",
    cell: (cache) => <span className="font-medium">{cache.name}</span>,
  },
  {
    id: "state",
    header: "State",
    width: "minmax(150px, 1fr)",
    cell: (cache) => <JobCell job={cache.job} ready={cache.ready} />,
  },
  {
    id: "hooks",
    header: "Hook points",
    width: "minmax(160px, 1.5fr)",
    cell: (cache) => <code>{cache.hooks.join(", ")}</code>,
  },
  {
    id: "tokens from",
    header: "Tokens of",
    width: "minmax(120px, 1fr)",
    cell: (cache) => cache.dataset_name,
  },
  {
    id: "tokens",
    header: "Activations",
    width: "100px",
    align: "right",
    sort: "n_tokens",
    hint: "Tokens kept, at each hook point",
    cell: (cache) => <Num value={cache.n_tokens} />,
  },
  {
    id: "bytes",
    header: "On disk",
    width: "90px",
    align: "right",
    sort: "bytes",
    cell: (cache) => <Bytes value={cache.bytes} />,
  },
  {
    id: "created",
    header: "Made",
    width: "110px",
    sort: "created_at",
    descendingFirst: true,
    cell: (cache) => <RelativeTime at={cache.created_at} />,
  },
];

/** Activations of a model that are kept on disk, to be trained on again and again. */
export function Caches({ model }: { model: Model }) {
  const [sort, setSort] = useUrlState("asort", "-created_at");
  const [open, setOpen] = useUrlState("cache", "");
  const [making, setMaking] = useUrlState("harvest", false);
  const source = usePages<Cache>(["activation_caches", model.id, sort], (offset, limit, signal) =>
    body(
      api.GET("/api/v1/activations", {
        params: { query: { model_id: model.id, offset, limit, sort } },
        signal,
      }),
    ),
  );
  useRefetchOn("activation_caches", ["activation_caches"]);
  useKeys(
    "Side panel",
    [{ keys: "escape", label: "close the side panel", run: () => setOpen("") }],
    open !== "",
  );
  const add = (
    <Button look="primary" icon={<Plus size={15} />} disabled={!model.ready} onClick={() => setMaking(true)}>
      Harvest activations
    </Button>
  );
  let shown: Cache | undefined;
  for (let index = 0; index < (source.total ?? 0) && !shown; index++) {
    const row = source.row(index);
    if (row?.id === open) shown = row;
  }
  return (
    <div className="relative flex min-h-0 flex-1">
      <div className="flex min-w-0 flex-1 flex-col">
        <div className="flex h-11 shrink-0 items-center justify-end px-5">{source.total !== 0 && add}</div>
        <DataTable
          label="Activation caches"
          columns={COLUMNS}
          source={source}
          id={(cache) => cache.id}
          sort={sort}
          onSort={setSort}
          onPreview={(cache) => setOpen(cache?.id ?? "")}
          previewed={open || null}
          empty={
            <Empty title="No activations kept" action={add}>
              A harvest runs the model over a tokenization once and keeps what it computes at the hook points
              that you name. Trainings can also read the model directly, without one.
            </Empty>
          }
        />
      </div>
      {shown && (
        <SidePanel
          title={shown.name}
          onClose={() => setOpen("")}
          actions={<Actions cache={shown} onGone={() => setOpen("")} />}
        >
          <Detail cache={shown} />
        </SidePanel>
      )}
      <HarvestDialog
        model={model}
        open={making}
        onClose={() => setMaking(false)}
        onMade={(made) => {
          setMaking(false);
          setOpen(made.id);
        }}
      />
    </div>
  );
}

function Actions({ cache, onGone }: { cache: Cache; onGone: () => void }) {
  const client = useQueryClient();
  const job = useJob(cache.job);
  const [deleting, setDeleting] = useState(false);
  const path = { cache_id: cache.id };
  return (
    <>
      {job && isActive(job) && (
        <IconButton label="Cancel" onClick={() => void cancelJob(job)}>
          <Ban size={14} />
        </IconButton>
      )}
      {job && !isActive(job) && job.state !== "succeeded" && (
        <IconButton label="Retry" onClick={() => void retryJob(job)}>
          <RotateCw size={14} />
        </IconButton>
      )}
      <IconButton label="Delete activations" onClick={() => setDeleting(true)}>
        <Trash2 size={14} />
      </IconButton>
      <DeleteDialog
        open={deleting}
        onClose={() => setDeleting(false)}
        noun="activation cache"
        name={cache.name}
        bytes={cache.bytes}
        readUsers={() => body(api.GET("/api/v1/activations/{cache_id}/users", { params: { path } }))}
        onDelete={async () => {
          await api.DELETE("/api/v1/activations/{cache_id}", { params: { path, query: { force: true } } });
          onGone();
          void client.invalidateQueries({ queryKey: ["activation_caches"] });
        }}
      />
    </>
  );
}

function Detail({ cache }: { cache: Cache }) {
  const job = useJob(cache.job);
  const { statistics } = cache;
  return (
    <div className="flex flex-col gap-5">
      {job?.state === "running" ? (
        <ProgressBar progress={job} label={job.title} />
      ) : (
        <JobCell job={cache.job} ready={cache.ready} />
      )}
      {job?.state === "failed" && job.error && (
        <p className="text-failed">
          {job.error.message} {job.error.hint}
        </p>
      )}
      <Facts
        facts={[
          ["Id", <Code key="id">{cache.id}</Code>],
          ["Tokens of", `${cache.dataset_name} / ${cache.tokenization_name}`],
          ["Kept as", cache.dtype],
          ["Activations", <Num key="tokens" value={cache.n_tokens} unit="tokens" />],
          ["On disk", <Bytes key="bytes" value={cache.bytes} />],
          ...(statistics
            ? ([
                ["Left out: special", <Num key="special" value={statistics.tokens_special} unit="tokens" />],
                ["Left out: padding", <Num key="padding" value={statistics.tokens_padding} unit="tokens" />],
                [
                  "Left out: outliers",
                  <Num key="outliers" value={statistics.tokens_outlier} unit="tokens" />,
                ],
                ["Took", format.duration(statistics.seconds)],
              ] as [string, ReactNode][])
            : []),
        ]}
      />
      {statistics && (
        <Section title="At each hook point">
          {Object.entries(statistics.hooks).map(([hook, one]) => (
            <div key={hook} className="mb-3">
              <Code>{hook}</Code>
              <Facts
                facts={[
                  ["Mean norm", <Num key="mean" value={one.mean_norm} of="Mean over tokens of ‖x‖" />],
                  ["Largest norm", <Num key="max" value={one.max_norm} of="Largest ‖x‖" />],
                  ["RMS", <Num key="rms" value={one.rms} of="Root of the mean square of an element" />],
                ]}
              />
            </div>
          ))}
        </Section>
      )}
      <Section title="Settings">
        <SettingFacts settings={cache.settings} />
      </Section>
    </div>
  );
}
