import { useQueryClient } from "@tanstack/react-query";
import { Star, Tag, Trash2 } from "lucide-react";
import { useId, useState } from "react";
import { toast } from "sonner";
import { api } from "@/api/client";
import { Problem } from "@/api/problem";
import { Button, ConfirmDialog, Dialog, Field } from "@/kit";
import { Consequences, useConsequences } from "./Consequences";
import type { Dataset } from "./DatasetFacts";
import { TagInput } from "./TagInput";
import { useSummary } from "./useSummary";

/** What can be done with several data sets at once. */
export function BulkActions({ datasets, onDone }: { datasets: Dataset[]; onDone: () => void }) {
  const id = useId();
  const client = useQueryClient();
  const summary = useSummary();
  const [deleting, setDeleting] = useState(false);
  const [tagging, setTagging] = useState(false);
  const [tags, setTags] = useState<string[]>([]);
  const ids = datasets.map((dataset) => dataset.id);
  const taken = useConsequences(ids, deleting);
  const refresh = () => client.invalidateQueries({ queryKey: ["datasets"] });
  const change = async (wanted: (dataset: Dataset) => { favourite?: boolean; tags?: string[] }) => {
    try {
      for (const dataset of datasets)
        await api.PATCH("/api/v1/datasets/{dataset_id}", {
          params: { path: { dataset_id: dataset.id } },
          body: wanted(dataset),
        });
      onDone();
    } catch (error) {
      toast.error(Problem.from(error).detail);
    }
    await refresh();
  };
  const starred = datasets.every((dataset) => dataset.favourite);
  return (
    <>
      <Button icon={<Star size={13} />} onClick={() => void change(() => ({ favourite: !starred }))}>
        {starred ? "Take stars away" : "Star"}
      </Button>
      <Button icon={<Tag size={13} />} onClick={() => setTagging(true)}>
        Tag
      </Button>
      <Button look="danger" icon={<Trash2 size={13} />} onClick={() => setDeleting(true)}>
        Delete
      </Button>
      <Button look="quiet" onClick={onDone}>
        Clear
      </Button>
      <Dialog open={tagging} onClose={() => setTagging(false)} title={`Tag ${datasets.length} data sets`}>
        <div className="flex flex-col gap-4">
          <Field id={`${id}-tags`} label="Tags to add" hint="Enter or a comma ends one.">
            <TagInput
              id={`${id}-tags`}
              tags={tags}
              onChange={setTags}
              known={summary?.tags.map((tag) => tag.value)}
            />
          </Field>
          <div className="flex justify-end gap-2">
            <Button onClick={() => setTagging(false)}>Cancel</Button>
            <Button
              look="primary"
              disabled={tags.length === 0}
              onClick={async () => {
                await change((dataset) => ({ tags: [...new Set([...dataset.tags, ...tags])] }));
                setTagging(false);
                setTags([]);
              }}
            >
              Add tags
            </Button>
          </div>
        </div>
      </Dialog>
      <ConfirmDialog
        open={deleting}
        onClose={() => setDeleting(false)}
        title={`Delete ${datasets.length === 1 ? `“${datasets[0]?.name}”` : `${datasets.length} data sets`}?`}
        action={taken.data && taken.data.count > 0 ? `Delete all ${taken.data.count + ids.length}` : "Delete"}
        onConfirm={async () => {
          await api.DELETE("/api/v1/datasets", { params: { query: { id: ids, force: true } } });
          onDone();
          await refresh();
        }}
      >
        {datasets.length > 1 && (
          <p className="mb-2 max-h-20 overflow-y-auto">
            {datasets.map((dataset) => dataset.name).join(", ")}
          </p>
        )}
        <Consequences taken={taken} />
      </ConfirmDialog>
    </>
  );
}
