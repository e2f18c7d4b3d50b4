import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useEffect, useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { Button, Dialog } from "@/kit";
import type { Dataset } from "./DatasetFacts";
import { MadeTexts } from "./MadeTexts";
import { type Choice, firstTemplate, recipeOf, TextChoice } from "./TextChoice";
import { useSettled } from "./useSettled";

/** Composes a column from the others, with the first rows' texts shown while one types. */
export function ComposeDialog({
  open,
  onClose,
  dataset,
}: {
  open: boolean;
  onClose: () => void;
  dataset: Dataset;
}) {
  return (
    <Dialog open={open} onClose={onClose} title="Compose a column" wide>
      {open && <ComposeForm dataset={dataset} onClose={onClose} />}
    </Dialog>
  );
}

/** Columns of chats, told by their type: lists of objects with a role, or with a sender. */
function chatColumnsOf(dataset: Dataset): string[] {
  return dataset.columns
    .filter((column) => /^list<.*struct<.*\b(role|from): /.test(column.type))
    .map((column) => column.name);
}

function ComposeForm({ dataset, onClose }: { dataset: Dataset; onClose: () => void }) {
  const client = useQueryClient();
  const chats = chatColumnsOf(dataset);
  const [choice, setChoice] = useState<Choice>(() =>
    chats[0]
      ? { kind: "chat", column: chats[0], model_id: "", generation_prompt: false, name: "chat text" }
      : { kind: "template", template: firstTemplate(dataset.columns), name: "joined" },
  );
  const [asText, setAsText] = useState(true);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const recipe = recipeOf(choice);
  const asked = useSettled(recipe);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is chosen answers the refusal.
  useEffect(() => setError(null), [choice]);
  const at = { params: { path: { dataset_id: dataset.id } } };
  const preview = useQuery({
    queryKey: ["datasets", dataset.id, "column-preview", asked],
    enabled: asked !== null,
    placeholderData: keepPreviousData,
    retry: false,
    queryFn: ({ signal }) =>
      body(
        api.POST("/api/v1/datasets/{dataset_id}/columns/preview", {
          params: { path: { dataset_id: dataset.id }, query: { limit: 5 } },
          body: { recipe: asked as NonNullable<typeof asked> },
          signal,
        }),
      ),
  });
  const refused = preview.error ? Problem.from(preview.error) : null;
  const failed = error === null ? refused : Problem.from(error);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!recipe || choice.kind === "column") return;
    setBusy(true);
    try {
      await api.POST("/api/v1/datasets/{dataset_id}/columns", {
        ...at,
        body: { name: choice.name.trim(), recipe, use_as_text: asText },
      });
      await client.invalidateQueries({ queryKey: ["datasets", dataset.id] });
      onClose();
    } catch (thrown) {
      setError(thrown);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      <TextChoice
        columns={dataset.columns}
        chatColumns={chats}
        value={choice}
        onChange={setChoice}
        kinds={["template", "chat"]}
        errors={failed?.fields ?? {}}
      />
      <label className="flex items-center gap-2">
        <input
          type="checkbox"
          className="accent-accent"
          checked={asText}
          onChange={(event) => setAsText(event.target.checked)}
        />
        Make it the text that tokenizations made from then on read
      </label>
      <section aria-label="First rows" aria-busy={preview.isFetching}>
        <MadeTexts texts={asked === null ? null : preview.data?.texts} failed={failed} />
      </section>
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button
          type="submit"
          look="primary"
          busy={busy}
          disabled={!recipe || choice.kind === "column" || !choice.name.trim()}
        >
          Compose
        </Button>
      </div>
    </form>
  );
}
