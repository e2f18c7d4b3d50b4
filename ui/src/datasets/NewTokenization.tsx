import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "@/api/client";
import { useSchema } from "@/api/useSchema";
import { Dialog, ErrorNote, type FormValue, invalid, SchemaForm, SkeletonLines } from "@/kit";
import { defaultsOf, problemsOf } from "@/kit/jsonSchema";
import type { Dataset } from "./DatasetFacts";
import { TokenizationPreview, type TokenizationWanted } from "./TokenizationPreview";
import type { Tokenization } from "./Tokenizations";

const BASIC = [
  "model_id",
  "text_column",
  "name",
  "settings.context_length",
  "settings.packing",
  "settings.overlap",
  "settings.padding",
  "settings.eos_between_rows",
  "settings.prepend_bos",
  "settings.filters",
];

/** The settings of a tokenization, and beside them what they make of some rows. */
export function NewTokenization(props: {
  dataset: Dataset;
  open: boolean;
  onClose: () => void;
  onMade: (made: Tokenization) => void;
}) {
  return (
    <Dialog open={props.open} onClose={props.onClose} title={`Tokenize “${props.dataset.name}”`} wide="page">
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
  const value = typed ?? {
    ...defaultsOf(schema.schema, schema.resolve),
    model_id: ready[0]?.id,
    text_column: dataset.text_column,
  };
  const valid = Object.keys(problemsOf(schema.schema, value, schema.resolve)).length === 0;
  const columns = dataset.columns.map((column) => column.name);
  const texts = dataset.columns.filter((column) => /string/.test(column.type)).map((column) => column.name);
  return (
    <div className="grid grid-cols-1 gap-6 lg:grid-cols-[minmax(340px,400px)_minmax(0,1fr)]">
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
          text_column: ({ id, value: chosen, onChange, error }) => (
            <select
              id={id}
              className="field"
              value={String(chosen ?? "")}
              onChange={(event) => onChange(event.target.value)}
              {...invalid(id, error)}
            >
              {texts.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          ),
          "settings.metadata_columns": ({ value: chosen, onChange, label }) => (
            <ColumnChoice
              label={label}
              columns={columns}
              chosen={Array.isArray(chosen) ? chosen.map(String) : []}
              onChange={onChange}
            />
          ),
        }}
        submit="Tokenize"
        onCancel={onClose}
        onSubmit={async (wanted) => {
          const made = await body(
            api.POST("/api/v1/datasets/{dataset_id}/tokenizations", {
              params: { path: { dataset_id: dataset.id } },
              body: wanted as unknown as TokenizationWanted,
            }),
          );
          await client.invalidateQueries({ queryKey: ["tokenizations"] });
          onMade(made);
        }}
      />
      <div className="min-w-0 lg:sticky lg:top-0 lg:max-h-[calc(84vh-84px)] lg:self-start lg:overflow-y-auto">
        {value.model_id === undefined ? (
          <p className="text-muted">Add a model first: its tokenizer cuts the text.</p>
        ) : (
          <TokenizationPreview
            dataset={dataset}
            wanted={valid ? (value as unknown as TokenizationWanted) : null}
          />
        )}
      </div>
    </div>
  );
}

/** Which of the data set's columns are kept with each sequence. */
function ColumnChoice({
  label,
  columns,
  chosen,
  onChange,
}: {
  label: string;
  columns: string[];
  chosen: string[];
  onChange: (columns: string[]) => void;
}) {
  return (
    <fieldset className="flex flex-wrap gap-x-3 gap-y-1">
      <legend className="sr-only">{label}</legend>
      {columns.map((name) => (
        <label key={name} className="flex items-center gap-1.5">
          <input
            type="checkbox"
            className="size-4 accent-accent"
            checked={chosen.includes(name)}
            onChange={(event) =>
              onChange(event.target.checked ? [...chosen, name] : chosen.filter((one) => one !== name))
            }
          />
          {name}
        </label>
      ))}
    </fieldset>
  );
}
