import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { useRefetchOn } from "@/api/useChannel";
import { Button, ConfirmDialog, Empty, format, ListPage, tip, useSearchParams, useUrlState } from "@/kit";
import { CacheActions, StatisticsOfIt, TrainOnIt } from "./CacheActions";
import { CacheFacts } from "./CacheFacts";
import { type Cache, freed, WITH_MODEL } from "./columns";
import { HarvestDialog } from "./HarvestDialog";

/** Every activation cache, of all models, with what they take on the disk. */
export function CachesPage() {
  const navigate = useNavigate();
  const [making, setMaking] = useUrlState("add", false);
  const [model, setModel] = useUrlState("model", "");
  const [, setOpen] = useUrlState("open", "");
  const [search, change] = useSearchParams();
  const models = useQuery({
    queryKey: ["models", "choices"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/models", { params: { query: { limit: 200 } }, signal })),
  });
  const disk = useQuery({
    queryKey: ["activation_caches", "disk"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/activations/disk", { signal })),
  });
  useRefetchOn("activation_caches", ["activation_caches"]);
  const add = (
    <Button look="primary" icon={<Plus size={15} />} onClick={() => setMaking(true)}>
      Harvest activations
    </Button>
  );
  return (
    <>
      <ListPage
        title="Activations"
        name="activation_caches"
        filterKey={[model]}
        fetch={(query, signal) =>
          body(
            api.GET("/api/v1/activations", {
              params: { query: { ...query, model_id: model || undefined } },
              signal,
            }),
          )
        }
        columns={WITH_MODEL}
        onOpen={(cache) => void navigate({ to: "/activations/$id", params: { id: cache.id } })}
        filters={
          <>
            <select
              aria-label="Model"
              className="field w-auto"
              value={model}
              onChange={(event) => setModel(event.target.value)}
            >
              <option value="">all models</option>
              {models.data?.items.map((one) => (
                <option key={one.id} value={one.id}>
                  {one.name}
                </option>
              ))}
            </select>
            {disk.data && (
              <span
                className="ml-auto whitespace-nowrap text-muted"
                {...tip(`${format.plural(disk.data.caches, "cache")}, of all models`)}
              >
                {format.bytes(disk.data.bytes)} on disk, {format.bytes(disk.data.bytes_free)} free
              </span>
            )}
          </>
        }
        actions={add}
        bulk={(rows, clear) => <DeleteMany caches={rows} onDone={clear} />}
        preview={(cache) => ({
          title: cache.name,
          actions: <CacheActions cache={cache} onGone={() => setOpen("")} />,
          content: (
            <>
              {cache.ready && (
                <div className="mb-4 flex gap-2">
                  <StatisticsOfIt cache={cache} />
                  <TrainOnIt cache={cache} />
                </div>
              )}
              <CacheFacts cache={cache} />
            </>
          ),
        })}
        empty={
          <Empty title={model ? "None of this model" : "No activations kept"} action={add}>
            A harvest runs a model over a tokenization once and keeps what it computes at the hook points that
            you name, with statistics of it. Trainings can also read the model directly, without one.
          </Empty>
        }
      />
      <HarvestDialog
        open={making}
        modelId={model || undefined}
        templateId={search.template ? String(search.template) : undefined}
        onClose={() => change({ add: undefined, template: undefined })}
        onMade={(made) => void navigate({ to: "/activations/$id", params: { id: made.id } })}
      />
    </>
  );
}

function DeleteMany({ caches, onDone }: { caches: Cache[]; onDone: () => void }) {
  const client = useQueryClient();
  const [asking, setAsking] = useState(false);
  return (
    <>
      <Button icon={<Trash2 size={14} />} onClick={() => setAsking(true)}>
        Delete
      </Button>
      <ConfirmDialog
        open={asking}
        onClose={() => setAsking(false)}
        title={`Delete ${format.plural(caches.length, "activation cache")}?`}
        action={`Delete ${caches.length}`}
        onConfirm={async () => {
          for (const cache of caches)
            await api.DELETE("/api/v1/activations/{cache_id}", {
              params: { path: { cache_id: cache.id }, query: { force: true } },
            });
          void client.invalidateQueries({ queryKey: ["activation_caches"] });
          toast.success(freed(caches));
          onDone();
        }}
      >
        <p>
          Their files ({format.bytes(caches.reduce((sum, cache) => sum + (cache.bytes ?? 0), 0))}) are removed
          from the disk. Trainings on them stay, without a cache to go on from.
        </p>
        <ul className="mt-2 max-h-40 list-disc overflow-y-auto pl-5">
          {caches.map((cache) => (
            <li key={cache.id}>{cache.name}</li>
          ))}
        </ul>
      </ConfirmDialog>
    </>
  );
}
