import { useQueryClient } from "@tanstack/react-query";
import { Plus, RotateCw, Trash2, X } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useRefetchOn } from "@/api/useChannel";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobCell } from "@/jobs/JobState";
import { isActive, useJob } from "@/jobs/live";
import {
  Button,
  Bytes,
  type Column,
  DataTable,
  DeleteDialog,
  Empty,
  IconButton,
  Num,
  RelativeTime,
  SidePanel,
  useKeys,
  usePages,
  useUrlState,
} from "@/kit";
import type { Dataset } from "./DatasetFacts";
import { NewTokenization } from "./NewTokenization";
import { TokenizationDetail } from "./TokenizationDetail";

export type Tokenization = components["schemas"]["TokenizationOut"];

const COLUMNS: Column<Tokenization>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(160px, 2fr)",
    sort: "name",
    cell: (one) => <span className="font-medium">{one.name}</span>,
  },
  {
    id: "state",
    header: "State",
    width: "minmax(170px, 1fr)",
    cell: (one) => (
      <span className="flex min-w-0 items-center gap-1">
        <JobCell job={one.job} ready={one.ready} />
        <CancelButton tokenization={one} />
      </span>
    ),
  },
  { id: "model", header: "Tokenizer of", width: "minmax(120px, 1fr)", cell: (one) => one.model_name },
  {
    id: "context",
    header: "Context",
    width: "80px",
    align: "right",
    hint: "Tokens in a sequence",
    cell: (one) => <Num value={one.settings.context_length} />,
  },
  {
    id: "sequences",
    header: "Sequences",
    width: "90px",
    align: "right",
    cell: (one) => <Num value={one.n_sequences} />,
  },
  {
    id: "tokens",
    header: "Tokens",
    width: "90px",
    align: "right",
    sort: "n_tokens",
    hint: "Padding not counted",
    cell: (one) => <Num value={one.n_tokens} />,
  },
  {
    id: "bytes",
    header: "On disk",
    width: "90px",
    align: "right",
    cell: (one) => <Bytes value={one.bytes} />,
  },
  {
    id: "created",
    header: "Made",
    width: "110px",
    sort: "created_at",
    descendingFirst: true,
    cell: (one) => <RelativeTime at={one.created_at} />,
  },
];

function CancelButton({ tokenization }: { tokenization: Tokenization }) {
  const job = useJob(tokenization.job);
  if (!job || !isActive(job)) return null;
  return (
    <IconButton
      label={`Cancel ${tokenization.name}`}
      size="size-5"
      onClick={(event) => {
        event.stopPropagation();
        void cancelJob(job);
      }}
    >
      <X size={13} />
    </IconButton>
  );
}

/** A data set's tokenizations: any number, each with its own settings. */
export function Tokenizations({ dataset }: { dataset: Dataset }) {
  const [sort, setSort] = useUrlState("tsort", "-created_at");
  const [open, setOpen] = useUrlState("tokenization", "");
  const [making, setMaking] = useUrlState("tokenize", false);
  const source = usePages<Tokenization>(["tokenizations", dataset.id, sort], (offset, limit, signal) =>
    body(
      api.GET("/api/v1/datasets/{dataset_id}/tokenizations", {
        params: { path: { dataset_id: dataset.id }, query: { offset, limit, sort } },
        signal,
      }),
    ),
  );
  useRefetchOn("tokenizations", ["tokenizations"]);
  useKeys(
    "Side panel",
    [{ keys: "escape", label: "close the side panel", run: () => setOpen("") }],
    open !== "",
  );
  const add = (
    <Button
      look="primary"
      icon={<Plus size={15} />}
      disabled={!dataset.ready}
      onClick={() => setMaking(true)}
    >
      New tokenization
    </Button>
  );
  let shown: Tokenization | undefined;
  for (let index = 0; index < (source.total ?? 0) && !shown; index++) {
    const row = source.row(index);
    if (row?.id === open) shown = row;
  }
  return (
    <div className="relative flex min-h-0 flex-1">
      <div className="flex min-w-0 flex-1 flex-col">
        <div className="flex h-11 shrink-0 items-center justify-end gap-2 px-5">
          {source.total !== 0 && add}
        </div>
        <DataTable
          label="Tokenizations"
          columns={COLUMNS}
          source={source}
          id={(one) => one.id}
          sort={sort}
          onSort={setSort}
          onPreview={(one) => setOpen(one?.id ?? "")}
          previewed={open || null}
          empty={
            <Empty title="Not tokenized yet" action={add}>
              {dataset.ready
                ? "A tokenization cuts the text into the tokens of one model, in sequences of one length. A data set can have several."
                : "It can be tokenized once it is complete."}
            </Empty>
          }
        />
      </div>
      {shown && (
        <SidePanel
          title={shown.name}
          onClose={() => setOpen("")}
          actions={<Actions tokenization={shown} onGone={() => setOpen("")} />}
        >
          <TokenizationDetail tokenization={shown} />
        </SidePanel>
      )}
      <NewTokenization
        dataset={dataset}
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

function Actions({ tokenization, onGone }: { tokenization: Tokenization; onGone: () => void }) {
  const client = useQueryClient();
  const job = useJob(tokenization.job);
  const [deleting, setDeleting] = useState(false);
  const path = { dataset_id: tokenization.dataset_id, key: tokenization.id };
  return (
    <>
      {job && isActive(job) && (
        <IconButton label="Cancel" onClick={() => void cancelJob(job)}>
          <X size={14} />
        </IconButton>
      )}
      {job && !isActive(job) && job.state !== "succeeded" && (
        <IconButton label="Retry" onClick={() => void retryJob(job)}>
          <RotateCw size={14} />
        </IconButton>
      )}
      <IconButton label="Delete tokenization" onClick={() => setDeleting(true)}>
        <Trash2 size={14} />
      </IconButton>
      <DeleteDialog
        open={deleting}
        onClose={() => setDeleting(false)}
        noun="tokenization"
        name={tokenization.name}
        bytes={tokenization.bytes}
        readUsers={() =>
          body(api.GET("/api/v1/datasets/{dataset_id}/tokenizations/{key}/users", { params: { path } }))
        }
        onDelete={async () => {
          await api.DELETE("/api/v1/datasets/{dataset_id}/tokenizations/{key}", {
            params: { path, query: { force: true } },
          });
          onGone();
          void client.invalidateQueries({ queryKey: ["tokenizations"] });
          void client.invalidateQueries({ queryKey: ["datasets"] });
        }}
      />
    </>
  );
}
