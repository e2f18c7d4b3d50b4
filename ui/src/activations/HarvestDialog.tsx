import { useQuery, useQueryClient } from "@tanstack/react-query";
import { BookmarkPlus } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import {
  Button,
  Dialog,
  Empty,
  ErrorNote,
  type FormValue,
  format,
  invalid,
  SchemaForm,
  SkeletonLines,
} from "@/kit";
import { defaultsOf, problemsOf } from "@/kit/jsonSchema";
import { SaveTemplate } from "@/templates/SaveTemplate";
import { StartFrom } from "@/templates/StartFrom";
import { Forecast } from "./Forecast";
import { HookPicker } from "./HookPicker";
import { patternsOf } from "./patterns";

type Cache = components["schemas"]["CacheOut"];
type Wanted = components["schemas"]["CacheCreate"];

const BASIC = ["tokenization_id", "name", "hooks", "dtype", "settings.n_tokens"];

interface Props {
  open: boolean;
  onClose: () => void;
  onMade: (made: Cache) => void;
  /** Only tokenizations by this model are offered. */
  modelId?: string;
  /** Chosen from the start. */
  tokenizationId?: string;
  hooks?: string[];
  /** The template to start from. */
  templateId?: string;
}

/** What to harvest, and what it will take. */
export function HarvestDialog(props: Props) {
  return (
    <Dialog open={props.open} onClose={props.onClose} title="Harvest activations" wide>
      <Form {...props} />
    </Dialog>
  );
}

function Form({ modelId, tokenizationId, hooks, templateId, onClose, onMade }: Props) {
  const schema = useSchema("CacheCreate");
  const client = useQueryClient();
  const [typed, setTyped] = useState<FormValue | null>(null);
  const [missing, setMissing] = useState<string[]>([]);
  const [saving, setSaving] = useState(false);
  const tokenizations = useQuery({
    queryKey: ["tokenizations", "choices", modelId ?? "all"],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/tokenizations", { params: { query: { model_id: modelId, limit: 200 } }, signal }),
      ),
  });
  const ready = tokenizations.data?.items.filter((one) => one.ready) ?? [];
  const value: FormValue | null =
    schema && tokenizations.data
      ? (typed ?? {
          ...defaultsOf(schema.schema, schema.resolve),
          tokenization_id: (ready.find((one) => one.id === tokenizationId) ?? ready[0])?.id,
          hooks: hooks ?? [],
        })
      : null;
  const tokenization = ready.find((one) => one.id === value?.tokenization_id);
  const model = useQuery({
    queryKey: ["models", tokenization?.model_id],
    enabled: tokenization !== undefined,
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/models/{model_id}", {
          params: { path: { model_id: tokenization?.model_id ?? "" } },
          signal,
        }),
      ),
  });
  const error = tokenizations.error ?? model.error;
  if (error) return <ErrorNote error={error} onRetry={() => void tokenizations.refetch()} />;
  if (tokenizations.data && ready.length === 0)
    return (
      <Empty title="There are no tokens to run a model over">
        Tokenize a data set {modelId ? "with this model " : ""}first: on the data set's page, under
        Tokenizations.
      </Empty>
    );
  if (!schema || !value || !model.data) return <SkeletonLines lines={6} />;
  const points = model.data;
  const valid = Object.keys(problemsOf(schema.schema, value, schema.resolve)).length === 0;
  const change = async (next: FormValue) => {
    setTyped(next);
    // Another model's hook points are others: what it has by the same names stays.
    const other = ready.find((one) => one.id === next.tokenization_id)?.model_id;
    if (other && other !== tokenization?.model_id) await setHooks(next, next.hooks as string[], other);
  };
  const setHooks = async (next: FormValue, wanted: string[], model_id: string) => {
    const found = await body(api.POST("/api/v1/activations/hooks", { body: { model_id, hooks: wanted } }));
    setMissing(found.missing);
    setTyped({ ...next, hooks: found.hooks });
  };
  return (
    <>
      <div className="mb-4 flex items-end gap-2">
        <StartFrom
          kind="extraction"
          first={templateId}
          value={value.template_id as string | null | undefined}
          onChange={async (template) => {
            if (!template) return setTyped({ ...value, template_id: null });
            const { hooks: patterns, ...settings } = template.body;
            await setHooks(
              { ...value, ...settings, template_id: template.id },
              patterns as string[],
              points.id,
            );
          }}
        />
        <Button
          icon={<BookmarkPlus size={14} />}
          disabled={!valid}
          hint="Keep hook points, precision and settings under a name"
          onClick={() => setSaving(true)}
        >
          Save as template
        </Button>
      </div>
      {missing.length > 0 && (
        <p role="status" className="mb-3 text-warning">
          Not in {points.name}: <code>{missing.join(", ")}</code>
        </p>
      )}
      <SchemaForm
        {...schema}
        value={value}
        onChange={(next) => void change(next)}
        basic={BASIC}
        hidden={["template_id"]}
        widgets={{
          tokenization_id: ({ id, value: chosen, onChange, error: wrong }) => (
            <select
              id={id}
              className="field"
              value={String(chosen ?? "")}
              onChange={(event) => onChange(event.target.value)}
              {...invalid(id, wrong)}
            >
              {ready.map((one) => (
                <option key={one.id} value={one.id}>
                  {one.dataset_name} / {one.name}
                  {modelId ? "" : ` · ${one.model_name}`} ({format.figure(one.n_tokens)} tokens)
                </option>
              ))}
            </select>
          ),
          hooks: (input) => <HookPicker {...input} model={points} />,
        }}
        submit="Harvest"
        onCancel={onClose}
        onSubmit={async (wanted) => {
          const made = await body(api.POST("/api/v1/activations", { body: wanted as unknown as Wanted }));
          await client.invalidateQueries({ queryKey: ["activation_caches"] });
          void client.invalidateQueries({ queryKey: ["templates"] });
          onMade(made);
        }}
      >
        {valid && <Forecast wanted={value as unknown as Wanted} />}
      </SchemaForm>
      <SaveTemplate
        open={saving}
        onClose={() => setSaving(false)}
        kind="extraction"
        settings={() => ({
          hooks: patternsOf(value.hooks as string[], points.n_layers ?? 0),
          dtype: value.dtype,
          settings: value.settings,
        })}
      />
    </>
  );
}
