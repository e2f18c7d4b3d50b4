import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type FormEvent, useEffect, useId, useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { Button, ErrorNote, Field, FormActions, format, SkeletonLines } from "@/kit";
import type { Source } from "./AddDataset";
import type { Dataset } from "./DatasetFacts";
import { HubChoice } from "./HubChoice";
import { MadeTexts } from "./MadeTexts";
import { bytesOf, type DatasetPreview, PreviewPanel } from "./PreviewPanel";
import { TagInput } from "./TagInput";
import { type Choice, firstTemplate, recipeOf, TextChoice } from "./TextChoice";
import { useSettled } from "./useSettled";
import { useSummary } from "./useSummary";

/** What a source holds, what of it is the text, and the button that adds it. */
export function AddFromPreview({
  source,
  upload,
  onSource,
  onAdded,
  onCancel,
}: {
  source: Source;
  upload?: string;
  onSource: (source: Source) => void;
  onAdded: (dataset: Dataset) => Promise<void>;
  onCancel: () => void;
}) {
  const { data, error, isFetching, refetch } = useQuery({
    queryKey: ["dataset-preview", upload, source],
    queryFn: ({ signal }) =>
      body(
        api.POST("/api/v1/datasets/preview", {
          body: { source, upload: upload ?? null, rows: 8, recipe: null },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
    retry: false,
    staleTime: 60_000,
  });
  if (error) return <ErrorNote error={error} onRetry={() => void refetch()} />;
  if (!data) return <SkeletonLines lines={5} />;
  return (
    <div className={isFetching ? "opacity-60" : ""} aria-busy={isFetching}>
      <PreviewPanel preview={data}>
        {source.kind === "hub" && <HubChoice source={source} preview={data} onChange={onSource} />}
      </PreviewPanel>
      <AddForm
        key={`${data.name} ${data.config} ${data.split}`}
        preview={data}
        source={source}
        upload={upload}
        onAdded={onAdded}
        onCancel={onCancel}
      />
    </div>
  );
}

function firstChoice(preview: DatasetPreview): Choice {
  if (preview.text_column) return { kind: "column", column: preview.text_column };
  const [chats] = preview.chat_columns;
  if (chats && !preview.columns.some((column) => column.type === "string"))
    return { kind: "chat", column: chats, model_id: "", generation_prompt: false, name: "chat text" };
  if (preview.columns.some((column) => column.type === "string")) return { kind: "column", column: "" };
  return { kind: "template", template: firstTemplate(preview.columns), name: "joined" };
}

function AddForm({
  preview,
  source,
  upload,
  onAdded,
  onCancel,
}: {
  preview: DatasetPreview;
  source: Source;
  upload?: string;
  onAdded: (dataset: Dataset) => Promise<void>;
  onCancel: () => void;
}) {
  const id = useId();
  const summary = useSummary();
  const [name, setName] = useState("");
  const [limit, setLimit] = useState("");
  const [tags, setTags] = useState<string[]>([]);
  const [choice, setChoice] = useState<Choice>(() => firstChoice(preview));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is chosen answers the refusal.
  useEffect(() => setError(null), [choice, name]);
  const recipe = recipeOf(choice);
  const complete =
    choice.kind === "column" ? choice.column !== "" : recipe !== null && choice.name.trim() !== "";
  const asked = useSettled(recipe);
  const made = useQuery({
    queryKey: ["dataset-preview", upload, source, asked],
    enabled: asked !== null,
    placeholderData: keepPreviousData,
    retry: false,
    queryFn: ({ signal }) =>
      body(
        api.POST("/api/v1/datasets/preview", {
          body: { source, upload: upload ?? null, rows: 3, recipe: asked },
          signal,
        }),
      ),
  });
  const refused = asked !== null && made.error ? Problem.from(made.error) : null;
  const fields = error === null ? (refused?.fields ?? {}) : Problem.from(error).fields;
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const chosen = source.kind === "hub" ? { config: preview.config, split: preview.split ?? "train" } : {};
      const dataset = await body(
        api.POST("/api/v1/datasets", {
          body: {
            name: name.trim() || null,
            source: { ...source, ...chosen, max_rows: limit ? Number(limit) : null } as Source,
            upload: upload ?? null,
            text_column: choice.kind === "column" ? choice.column : null,
            compose:
              recipe && choice.kind !== "column"
                ? { name: choice.name.trim(), recipe, use_as_text: true }
                : null,
            tags,
          },
        }),
      );
      await onAdded(dataset);
    } catch (thrown) {
      setError(thrown);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form onSubmit={submit} className="mt-4 flex flex-col gap-3 border-t border-line pt-4">
      <TextChoice
        columns={preview.columns}
        chatColumns={preview.chat_columns}
        value={choice}
        onChange={setChoice}
        errors={fields}
      />
      {asked !== null && <MadeTexts texts={made.data?.texts} failed={refused} />}
      <div className="grid gap-x-4 gap-y-3 sm:grid-cols-3">
        <Field
          id={`${id}-name`}
          label="Name"
          hint="Default: the file's or repository's name."
          error={fields.name}
        >
          <input
            id={`${id}-name`}
            className="field"
            maxLength={200}
            placeholder={preview.name.replace(/(\.(gz|zst|zip))?$/i, "").replace(/\.\w+$/, "")}
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </Field>
        <Field
          id={`${id}-rows`}
          label="Only the first rows"
          hint={
            source.kind === "hub"
              ? "From the hub no more than these rows need is fetched. Empty: all of it."
              : "Empty: all of it."
          }
        >
          <input
            id={`${id}-rows`}
            className="field"
            type="number"
            min={1}
            placeholder="all"
            value={limit}
            onChange={(event) => setLimit(event.target.value)}
          />
        </Field>
        <Field id={`${id}-tags`} label="Tags" hint="Words to find it by; Enter or a comma ends one.">
          <TagInput
            id={`${id}-tags`}
            tags={tags}
            onChange={setTags}
            known={summary?.tags.map((tag) => tag.value)}
          />
        </Field>
      </div>
      {error !== null && <ErrorNote error={error} />}
      <FormActions>
        <Needed preview={preview} limit={Number(limit) || null} hub={source.kind === "hub"} />
        <Button onClick={onCancel}>Cancel</Button>
        <Button type="submit" look="primary" disabled={!complete} busy={busy}>
          Add data set
        </Button>
      </FormActions>
    </form>
  );
}

/** How many bytes will come, and whether there is room for them. */
function Needed({ preview, limit, hub }: { preview: DatasetPreview; limit: number | null; hub: boolean }) {
  const bytes = bytesOf(preview, limit);
  const all = preview.about.source_bytes;
  const words =
    bytes === null
      ? `as much of ${format.bytes(all)} as these rows need`
      : bytes < all
        ? `about ${format.bytes(bytes)} of ${format.bytes(all)}`
        : format.bytes(all);
  const short = bytes !== null && bytes > preview.free_bytes;
  return (
    <span className="mr-auto min-w-0 text-xs text-muted">
      {hub ? "To fetch: " : "To read: "}
      {words}
      {short && (
        <span className="text-warning">
          , but only {format.bytes(preview.free_bytes)} are free on the disk
        </span>
      )}
    </span>
  );
}
