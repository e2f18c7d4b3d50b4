import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useDeferredValue, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { Dialog, ErrorNote, type FormValue, invalid, SchemaForm, SkeletonLines, TokenStrip } from "@/kit";
import { defaultsOf, problemsOf } from "@/kit/jsonSchema";
import type { Dataset } from "./DatasetFacts";
import type { Tokenization } from "./Tokenizations";

type Wanted = components["schemas"]["TokenizationCreate"];

const BASIC = ["model_id", "settings.context_length", "settings.packing"];

/** The settings of a tokenization, with its first sequences as they would be. */
export function NewTokenization(props: {
  dataset: Dataset;
  open: boolean;
  onClose: () => void;
  onMade: (made: Tokenization) => void;
}) {
  return (
    <Dialog open={props.open} onClose={props.onClose} title={`Tokenize “${props.dataset.name}”`} wide>
      <Form {...props} />
    </Dialog>
  );
}

function Form({
  dataset,
  onClose,
  onMade,
}: {
  dataset: Dataset;
  onClose: () => void;
  onMade: (made: Tokenization) => void;
}) {
  const schema = useSchema("TokenizationCreate");
  const client = useQueryClient();
  const models = useQuery({
    queryKey: ["models", "choices"],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/models", { params: { query: { limit: 200, sort: "name" } }, signal })),
  });
  const ready = models.data?.items.filter((model) => model.ready) ?? [];
  const [typed, setTyped] = useState<FormValue | null>(null);
  if (models.error) return <ErrorNote error={models.error} onRetry={() => void models.refetch()} />;
  if (!schema || !models.data) return <SkeletonLines />;
  const value = typed ?? { ...defaultsOf(schema.schema, schema.resolve), model_id: ready[0]?.id };
  const valid = Object.keys(problemsOf(schema.schema, value, schema.resolve)).length === 0;
  return (
    <SchemaForm
      {...schema}
      value={value}
      onChange={setTyped}
      basic={BASIC}
      widgets={{
        model_id: ({ id, value: chosen, onChange, error }) => (
          <select
            id={id}
            className="field"
            value={String(chosen ?? "")}
            onChange={(event) => onChange(event.target.value)}
            {...invalid(id, error)}
          >
            {ready.length === 0 && <option value="">No model is ready: add one first</option>}
            {ready.map((model) => (
              <option key={model.id} value={model.id}>
                {model.name}
              </option>
            ))}
          </select>
        ),
      }}
      submit="Tokenize"
      onCancel={onClose}
      onSubmit={async (wanted) => {
        const made = await body(
          api.POST("/api/v1/datasets/{dataset_id}/tokenizations", {
            params: { path: { dataset_id: dataset.id } },
            body: wanted as unknown as Wanted,
          }),
        );
        await client.invalidateQueries({ queryKey: ["tokenizations"] });
        onMade(made);
      }}
    >
      {valid && value.model_id !== undefined && (
        <Preview dataset={dataset} wanted={value as unknown as Wanted} />
      )}
    </SchemaForm>
  );
}

function Preview({ dataset, wanted }: { dataset: Dataset; wanted: Wanted }) {
  const settled = useDeferredValue(wanted);
  const preview = useQuery({
    queryKey: ["datasets", dataset.id, "preview", settled],
    queryFn: ({ signal }) =>
      body(
        api.POST("/api/v1/datasets/{dataset_id}/tokenizations/preview", {
          params: { path: { dataset_id: dataset.id }, query: { limit: 3 } },
          body: settled,
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
    gcTime: 30_000,
  });
  if (preview.error) return <ErrorNote error={preview.error} />;
  return (
    <section aria-label="Preview" className={preview.isPlaceholderData ? "opacity-60" : ""}>
      <div className="mb-1 text-xs text-muted">The first sequences would be</div>
      <div className="flex max-h-56 flex-col gap-2 overflow-y-auto rounded-[6px] border border-line bg-surface p-2">
        {preview.data ? (
          preview.data.items.map((sequence) => (
            <TokenStrip
              key={sequence.index}
              label={`Sequence ${sequence.index}`}
              tokens={sequence.tokens.map((token) => token.text)}
              note={(index) => `id ${sequence.tokens[index]?.id}`}
              bounds
            />
          ))
        ) : (
          <SkeletonLines lines={3} />
        )}
        {preview.data?.items.length === 0 && (
          <span className="text-muted">No sequence: every row is left out.</span>
        )}
      </div>
    </section>
  );
}
