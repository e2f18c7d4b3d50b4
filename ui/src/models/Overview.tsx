import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useDeferredValue, useId, useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { Button, ErrorNote, Section, SkeletonLines } from "@/kit";
import { ObjectFields } from "@/kit/schemaFields";
import { MemoryTable } from "./MemoryTable";
import { type Model, ModelFacts } from "./ModelFacts";

type Loading = components["schemas"]["ModelLoading"];

/** What the model is, how it is loaded, and what that takes. */
export function Overview({ model }: { model: Model }) {
  return (
    <div className="grid items-start gap-8 p-5 lg:grid-cols-[minmax(280px,380px)_minmax(0,1fr)]">
      <ModelFacts model={model} />
      <div className="flex min-w-0 flex-col gap-8">
        <LoadingSettings key={JSON.stringify(model.loading)} model={model} />
        {model.ready && <Memory model={model} />}
      </div>
    </div>
  );
}

/** How it is loaded whenever it runs, from the next job on. */
function LoadingSettings({ model }: { model: Model }) {
  const id = useId();
  const schema = useSchema("ModelLoading");
  const client = useQueryClient();
  const [value, setValue] = useState<Loading>(model.loading);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Problem | null>(null);
  const changed = JSON.stringify(value) !== JSON.stringify(model.loading);
  const save = async () => {
    setBusy(true);
    setError(null);
    try {
      await body(
        api.PATCH("/api/v1/models/{model_id}", {
          params: { path: { model_id: model.id } },
          body: { loading: value },
        }),
      );
      await client.invalidateQueries({ queryKey: ["models"] });
    } catch (thrown) {
      setError(Problem.from(thrown));
    } finally {
      setBusy(false);
    }
  };
  const errors = Object.fromEntries(
    Object.entries(error?.fields ?? {}).map(([path, words]) => [path.replace(/^loading\./, ""), words]),
  );
  return (
    <Section
      title="How it is loaded"
      actions={
        <Button
          look={changed ? "primary" : "plain"}
          disabled={!changed}
          busy={busy}
          onClick={() => void save()}
        >
          Save
        </Button>
      }
    >
      {schema ? (
        <ObjectFields
          schema={schema.schema}
          resolve={schema.resolve}
          value={value as never}
          path=""
          errors={errors}
          widgets={{}}
          kinds={{}}
          hidden={NONE}
          base={id}
          onChange={(_, next) => setValue(next as Loading)}
        />
      ) : (
        <SkeletonLines lines={2} />
      )}
      {error && <ErrorNote error={error} />}
      <p className="mt-2 text-xs text-muted">
        Holds for everything that runs the model from now on. Activations that were kept under other settings
        stay what they are.
      </p>
    </Section>
  );
}

const NONE: ReadonlySet<string> = new Set();

function Memory({ model }: { model: Model }) {
  const batch = useId();
  const context = useId();
  const [use, setUse] = useState({
    batch_size: 16,
    context_length: Math.min(128, model.context_length ?? 128),
  });
  const query = useDeferredValue(use);
  const memory = useQuery({
    queryKey: ["models", model.id, "memory", query],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/models/{model_id}/memory/all", {
          params: { path: { model_id: model.id }, query },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
  });
  const { loading } = model;
  const field = (id: string, label: string, key: keyof typeof use, max: number) => (
    <label htmlFor={id} className="flex items-center gap-2 text-xs text-muted">
      {label}
      <input
        id={id}
        type="number"
        className="field w-24"
        min={1}
        max={max}
        value={use[key]}
        onChange={(event) => {
          const next = Math.round(Number(event.target.value));
          if (next >= 1 && next <= max) setUse({ ...use, [key]: next });
        }}
      />
    </label>
  );
  return (
    <Section
      title="Memory"
      actions={
        <>
          {field(batch, "Texts at once", "batch_size", 4096)}
          {field(context, "Tokens in each", "context_length", 1_000_000)}
        </>
      }
    >
      {memory.error && <ErrorNote error={memory.error} />}
      {memory.data ? (
        <MemoryTable
          memory={memory.data}
          chosen={
            loading.quantization && loading.quantization !== "none"
              ? loading.quantization
              : loading.dtype === "auto"
                ? (model.dtype ?? "float32")
                : (loading.dtype ?? "float32")
          }
        />
      ) : (
        !memory.error && <SkeletonLines lines={6} />
      )}
    </Section>
  );
}
