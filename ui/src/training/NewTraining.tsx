import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { BookmarkPlus } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import {
  Button,
  Empty,
  ErrorNote,
  type FormValue,
  format,
  invalid,
  PageHeader,
  SchemaForm,
  SkeletonLines,
  useSearchParams,
} from "@/kit";
import { defaultsOf, problemsOf } from "@/kit/jsonSchema";
import { SaveTemplate } from "@/templates/SaveTemplate";
import { StartFrom } from "@/templates/StartFrom";
import { ForecastPanel } from "./ForecastPanel";
import { useTrainingForm } from "./form";
import { KINDS } from "./words";

type Wanted = components["schemas"]["TrainingCreate"];

const CRUMBS = [{ label: "Training", to: "/trainings" }];
const BASIC = [
  "sources",
  "hooks",
  "cache_id",
  "name",
  "config.architecture",
  "config.d_sae",
  "config.total_tokens",
  "config.batch_size",
  "config.learning_rate",
];

/** A transcoder's, which are trained in notebooks. */
const HIDDEN = ["config.skip_connection"];

/** A training is set up on a page of its own: the form at the left, what it will take at the right. */
export function NewTraining() {
  const form = useTrainingForm();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [search] = useSearchParams();
  const [typed, setTyped] = useState<FormValue | null>(null);
  const [saving, setSaving] = useState(false);
  const tokenizations = useQuery({
    queryKey: ["tokenizations", "choices"],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/tokenizations", { params: { query: { limit: 200 } }, signal })),
  });
  const ready = tokenizations.data?.items.filter((one) => one.ready) ?? [];
  const start: FormValue | null =
    form && tokenizations.data
      ? {
          ...defaultsOf(form.schema, form.resolve),
          // A cache was harvested under its own conventions.
          harvest: search.cache ? null : defaultsOf(form.resolve("#/$defs/HarvestSettings"), form.resolve),
          sources: [
            {
              tokenization_id: ready.find((one) => one.id === search.tokenization)?.id ?? ready[0]?.id,
              weight: 1,
            },
          ],
          ...(search.hook ? { hooks: [String(search.hook)] } : {}),
          ...(search.cache ? { cache_id: String(search.cache) } : {}),
        }
      : null;
  const value = typed ?? start;
  const chosen = tokensOf(value);
  const hook = hookOf(value);
  const tokenization = ready.find((one) => one.id === chosen);
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
  const caches = useQuery({
    queryKey: ["activation_caches", "choices", tokenization?.model_id],
    enabled: tokenization !== undefined,
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/activations", {
          params: { query: { model_id: tokenization?.model_id, limit: 200 } },
          signal,
        }),
      ),
  });
  const points = model.data?.hook_points ?? [];
  const fitting = (caches.data?.items ?? []).filter(
    (one) => one.ready && one.tokenization_id === tokenization?.id && (!hook || one.hooks.includes(hook)),
  );
  const change = (next: FormValue) => {
    const changed = { ...next };
    // Another tokenization may be another model's: its hook points are others, and so are its caches.
    if (value && tokensOf(next) !== chosen) {
      changed.hooks = [];
      changed.cache_id = null;
    }
    if (value && hookOf(next) !== hook && next.cache_id === value.cache_id) {
      const cache = caches.data?.items.find((one) => one.id === next.cache_id);
      if (cache && !cache.hooks.includes(hookOf(next) ?? "")) changed.cache_id = null;
    }
    // A cache was harvested under its own conventions.
    if (changed.cache_id) changed.harvest = null;
    else if (!changed.harvest && form)
      changed.harvest = defaultsOf(form.resolve("#/$defs/HarvestSettings"), form.resolve);
    setTyped(changed);
  };
  const error = tokenizations.error ?? model.error ?? caches.error;
  const loaded = form !== undefined && value !== null;
  if (tokenizations.data && ready.length === 0)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="New training" />
        <Empty title="There are no tokens to train on">
          Add a data set and tokenize it with the model whose activations are to be learned, then come back.
        </Empty>
      </>
    );
  const valid = loaded && Object.keys(problemsOf(form.schema, value, form.resolve)).length === 0;
  return (
    <>
      <PageHeader crumbs={CRUMBS} title="New training" />
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="grid max-w-[1180px] gap-8 p-5 lg:grid-cols-[minmax(0,1fr)_340px]">
          <div className="min-w-0">
            {error && <ErrorNote error={error} onRetry={() => void tokenizations.refetch()} />}
            {!loaded && !error && <SkeletonLines lines={8} />}
            {loaded && (
              <div className="mb-4 flex items-end gap-2">
                <StartFrom
                  kind="training"
                  first={search.template ? String(search.template) : undefined}
                  value={value.template_id as string | null | undefined}
                  onChange={(template) =>
                    change(
                      template
                        ? { ...value, ...template.body, template_id: template.id }
                        : { ...value, template_id: null },
                    )
                  }
                />
                <Button
                  icon={<BookmarkPlus size={14} />}
                  disabled={!valid}
                  hint="Keep hyperparameters and settings under a name"
                  onClick={() => setSaving(true)}
                >
                  Save as template
                </Button>
              </div>
            )}
            {loaded && (
              <SaveTemplate
                open={saving}
                onClose={() => setSaving(false)}
                kind="training"
                settings={() => ({
                  config: value.config,
                  held_out_tokens: value.held_out_tokens,
                  ...(value.harvest ? { harvest: value.harvest } : {}),
                })}
              />
            )}
            {loaded && (
              <SchemaForm
                schema={form.schema}
                resolve={form.resolve}
                value={value}
                onChange={change}
                basic={BASIC}
                kinds={KINDS}
                hidden={[...HIDDEN, "template_id", "grid", value.cache_id ? "harvest" : "harvest.n_tokens"]}
                widgets={{
                  sources: (input) => (
                    <Choice
                      {...input}
                      value={chosen}
                      onChange={(id) => input.onChange([{ tokenization_id: id, weight: 1 }])}
                      options={ready.map((one) => [
                        one.id,
                        `${one.dataset_name} / ${one.name} · ${one.model_name} · ${format.figure(one.n_tokens)} tokens`,
                      ])}
                    />
                  ),
                  hooks: (input) => (
                    <Choice
                      {...input}
                      value={hook}
                      onChange={(name) => input.onChange(name ? [name] : [])}
                      none={points.length > 0 ? "choose…" : "loading…"}
                      options={points.map((point) => [
                        point.name,
                        `${point.name} (${point.d} wide)`,
                        point.kind,
                      ])}
                    />
                  ),
                  cache_id: (input) => (
                    <Choice
                      {...input}
                      none="none: the model runs alongside"
                      options={fitting.map((one) => [
                        one.id,
                        `${one.name} (${format.figure(one.n_tokens)} activations)`,
                      ])}
                    />
                  ),
                }}
                submit="Start training"
                onCancel={() => void navigate({ to: "/trainings" })}
                onSubmit={async (wanted) => {
                  const made = await body(
                    api.POST("/api/v1/trainings", { body: wanted as unknown as Wanted }),
                  );
                  void client.invalidateQueries({ queryKey: ["trainings"] });
                  await navigate({ to: "/sweeps/$id", params: { id: made.id } });
                }}
              />
            )}
          </div>
          <aside aria-label="Forecast" className="min-w-0 lg:sticky lg:top-5 lg:self-start">
            <ForecastPanel wanted={valid ? (value as unknown as Wanted) : null} />
          </aside>
        </div>
      </div>
    </>
  );
}

const tokensOf = (value: FormValue | null) =>
  (value?.sources as { tokenization_id?: string }[] | undefined)?.[0]?.tokenization_id;
const hookOf = (value: FormValue | null) => (value?.hooks as string[] | undefined)?.[0];

function Choice({
  id,
  value,
  onChange,
  error,
  options,
  none,
}: {
  id: string;
  value: unknown;
  onChange: (value: unknown) => void;
  error: string | undefined;
  /** The third stands over those that share it. */
  options: [value: string, words: string, group?: string][];
  /** Words for no choice; without them one is always chosen. */
  none?: string;
}) {
  return (
    <select
      id={id}
      className="field"
      value={String(value ?? "")}
      onChange={(event) => onChange(event.target.value || null)}
      {...invalid(id, error)}
    >
      {none !== undefined && <option value="">{none}</option>}
      {[...new Set(options.map(([, , group]) => group))].map((group) => {
        const shown = options
          .filter((option) => option[2] === group)
          .map(([one, words]) => (
            <option key={one} value={one}>
              {words}
            </option>
          ));
        return group ? (
          <optgroup key={group} label={group}>
            {shown}
          </optgroup>
        ) : (
          shown
        );
      })}
    </select>
  );
}
