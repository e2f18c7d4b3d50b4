import { useNavigate } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useRefetchOn } from "@/api/useChannel";
import { Button, DataTable, Empty, SidePanel, useKeys, usePages, useSearchParams, useUrlState } from "@/kit";
import { CacheActions, StatisticsOfIt, TrainOnIt } from "./CacheActions";
import { CacheFacts } from "./CacheFacts";
import { type Cache, COLUMNS } from "./columns";
import { HarvestDialog } from "./HarvestDialog";

type Model = components["schemas"]["ModelOut"];

/** Activations of a model that are kept on disk, to be trained on again and again. */
export function Caches({ model }: { model: Model }) {
  const navigate = useNavigate();
  const [sort, setSort] = useUrlState("asort", "-created_at");
  const [open, setOpen] = useUrlState("cache", "");
  const [making, setMaking] = useUrlState("harvest", false);
  const [search, change] = useSearchParams();
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
          onOpen={(cache) => void navigate({ to: "/activations/$id", params: { id: cache.id } })}
          onPreview={(cache) => setOpen(cache?.id ?? "")}
          previewed={open || null}
          empty={
            <Empty title="No activations kept" action={add}>
              A harvest runs the model over a tokenization once and keeps what it computes at the hook points
              that you name, with statistics of it. Trainings can also read the model directly, without one.
            </Empty>
          }
        />
      </div>
      {shown && (
        <SidePanel
          title={shown.name}
          onClose={() => setOpen("")}
          actions={<CacheActions cache={shown} onGone={() => setOpen("")} />}
        >
          {shown.ready && (
            <div className="mb-4 flex gap-2">
              <StatisticsOfIt cache={shown} />
              <TrainOnIt cache={shown} />
            </div>
          )}
          <CacheFacts cache={shown} />
        </SidePanel>
      )}
      <HarvestDialog
        modelId={model.id}
        hooks={search.hook ? String(search.hook).split(",") : undefined}
        open={making}
        onClose={() => change({ harvest: undefined, hook: undefined })}
        onMade={(made) => void navigate({ to: "/activations/$id", params: { id: made.id } })}
      />
    </div>
  );
}
