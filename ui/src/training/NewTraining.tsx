import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { BookmarkPlus, Layers } from "lucide-react";
import { useState } from "react";
import { HookPicker } from "@/activations/HookPicker";
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
  useUrlState,
} from "@/kit";
import { defaultsOf, fieldOf, problemsOf } from "@/kit/jsonSchema";
import { SaveTemplate } from "@/templates/SaveTemplate";
import { StartFrom } from "@/templates/StartFrom";
import { AcrossKinds } from "./AcrossKinds";
import { ConfigText, type TextForm } from "./ConfigText";
import { ForecastPanel } from "./ForecastPanel";
import { useTrainingForm } from "./form";
import { countOf, fitting, gridName, gridProblems } from "./grid";
import { SourcesField } from "./SourcesField";
import { ViewChoice } from "./ViewChoice";
import { KINDS } from "./words";

type Wanted = components["schemas"]["TrainingCreate"];
type Grid = Record<string, unknown[]>;

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

/** A training is set up on a page of its own: the form or its text at the left, what it will take at the right. */
export function NewTraining() {
  const form = useTrainingForm();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [search] = useSearchParams();
  const [view, setView] = useUrlState("view", "form");
  const [typed, setTyped] = useState<FormValue | null>(null);
  const [saving, setSaving] = useState(false);
  const tokenizations = useQuery({
    queryKey: ["tokenizations", "choices"],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/tokenizations", { params: { query: { limit: 200 } }, signal })),
  });
  const ready = tokenizations.data?.items.filter((one) => one.ready) ?? [];
  const harvest = form && defaultsOf(form.resolve("#/$defs/HarvestSettings"), form.resolve);
  const start: FormValue | null =
    form && tokenizations.data
      ? {
          ...defaultsOf(form.schema, form.resolve),
          // A cache was harvested under its own conventions.
          harvest: search.cache ? null : harvest,
          grid: {},
          sources: [
            {
              tokenization_id: ready.find((one) => one.id === search.tokenization)?.id ?? ready[0]?.id,
              weight: 1,
            },
          ],
          hooks: search.hook ? [String(search.hook)] : [],
          ...(search.cache ? { cache_id: String(search.cache) } : {}),
        }
      : null;
  const value = typed ?? start;
  const sources = sourcesOf(value);
  const hooks = (value?.hooks as string[] | undefined) ?? [];
  const grid = (value?.grid ?? {}) as Grid;
  const config = (value?.config ?? {}) as FormValue;
  const tokenization = ready.find((one) => one.id === sources[0]);
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
  const serving = (next: FormValue) =>
    (caches.data?.items ?? []).filter(
      (one) =>
        one.ready &&
        sourcesOf(next).length === 1 &&
        one.tokenization_id === sourcesOf(next)[0] &&
        ((next.hooks as string[] | undefined) ?? []).every((hook) => one.hooks.includes(hook)),
    );
  const change = (next: FormValue) => {
    const changed = { ...next };
    const other = ready.find((one) => one.id === sourcesOf(next)[0])?.model_id;
    // Another model's hook points are others.
    if (value && other !== tokenization?.model_id) changed.hooks = [];
    if (changed.cache_id && caches.data && !serving(changed).some((one) => one.id === changed.cache_id))
      changed.cache_id = null;
    // A cache was harvested under its own conventions.
    if (changed.cache_id) changed.harvest = null;
    else if (!changed.harvest && harvest)
      changed.harvest = { ...harvest, seed: (changed.config as FormValue).seed ?? 0 };
    changed.grid = fitting((changed.grid ?? {}) as Grid, changed.config as FormValue);
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
  const trained = form && fieldOf(form.schema.properties?.config ?? {}, form.resolve).schema;
  const wrong = loaded && trained ? gridProblems(grid, config, trained, form.resolve) : {};
  const valid =
    loaded &&
    Object.keys(problemsOf(form.schema, value, form.resolve)).length === 0 &&
    Object.keys(wrong).length === 0;
  const wanted = valid ? (value as unknown as Wanted) : null;
  const begin = async (chosen: FormValue) => {
    const made = await body(api.POST("/api/v1/trainings", { body: chosen as unknown as Wanted }));
    void client.invalidateQueries({ queryKey: ["trainings"] });
    await navigate({ to: "/sweeps/$id", params: { id: made.id } });
  };
  const count = loaded ? countOf(value) : 0;
  const words = count > 1 ? `Start training ${count} SAEs` : "Start training";
  return (
    <>
      <PageHeader
        crumbs={CRUMBS}
        title="New training"
        actions={
          <ViewChoice label="Show the configuration as" views={VIEWS} value={view} onChange={setView} />
        }
      />
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="grid max-w-[1760px] gap-8 p-5 lg:grid-cols-[minmax(0,1fr)_minmax(320px,400px)]">
          <div className="min-w-0">
            {error && <ErrorNote error={error} onRetry={() => void tokenizations.refetch()} />}
            {!loaded && !error && <SkeletonLines lines={8} />}
            {loaded && (
              <>
                <div className="mb-4 flex flex-wrap items-start gap-2">
                  <StartFrom
                    kind="training"
                    first={search.template ? String(search.template) : undefined}
                    value={value.template_id as string | null | undefined}
                    onChange={(template) =>
                      change(
                        template
                          ? {
                              ...value,
                              ...template.body,
                              ...(value.cache_id ? { harvest: null } : {}),
                              grid: template.body.grid ?? {},
                              template_id: template.id,
                            }
                          : { ...value, template_id: null },
                      )
                    }
                  />
                  <Button
                    icon={<BookmarkPlus size={14} />}
                    disabled={!valid}
                    hint="Keep hyperparameters, with the values to try, under a name"
                    className="mt-6"
                    onClick={() => setSaving(true)}
                  >
                    Save as template
                  </Button>
                </div>
                <SaveTemplate
                  open={saving}
                  onClose={() => setSaving(false)}
                  kind="training"
                  settings={() => ({
                    config: value.config,
                    held_out_tokens: value.held_out_tokens,
                    ...(value.harvest ? { harvest: value.harvest } : {}),
                    grid,
                  })}
                />
                {view !== "form" ? (
                  <ConfigText
                    key={view}
                    form={view as TextForm}
                    wanted={wanted}
                    onChange={(read) =>
                      change({ ...(read as unknown as FormValue), template_id: value.template_id ?? null })
                    }
                    onStart={wanted ? () => begin(value) : undefined}
                    start={words}
                  />
                ) : (
                  <>
                    <p className="mb-3 flex items-center gap-1.5 text-muted">
                      <Layers size={12} className="shrink-0 text-faint" aria-hidden="true" />
                      Beside a setting: try several of its values, one SAE for each, on one pass of the model.
                    </p>
                    <SchemaForm
                      schema={form.schema}
                      resolve={form.resolve}
                      value={value}
                      onChange={change}
                      basic={BASIC}
                      kinds={KINDS}
                      hidden={[
                        ...HIDDEN,
                        "template_id",
                        "grid",
                        value.cache_id ? "harvest" : "harvest.n_tokens",
                      ]}
                      searchable
                      several={{
                        nameOf: gridName,
                        values: grid,
                        onChange: (values) => change({ ...value, grid: values }),
                        problems: wrong,
                        across: {
                          "config.architecture": (
                            <AcrossKinds
                              grid={grid}
                              onChange={(values) => change({ ...value, grid: values })}
                            />
                          ),
                        },
                      }}
                      widgets={{
                        sources: (input) => <SourcesField {...input} ready={ready} />,
                        hooks: (input) =>
                          model.data ? (
                            <HookPicker {...input} model={model.data} />
                          ) : (
                            <SkeletonLines lines={4} />
                          ),
                        cache_id: ({ id, value: chosen, onChange, error: refused }) => (
                          <select
                            id={id}
                            className="field"
                            value={String(chosen ?? "")}
                            onChange={(event) => onChange(event.target.value || null)}
                            {...invalid(id, refused)}
                          >
                            <option value="">none: the model runs alongside</option>
                            {serving(value).map((one) => (
                              <option key={one.id} value={one.id}>
                                {one.name} ({format.figure(one.n_tokens)} activations)
                              </option>
                            ))}
                          </select>
                        ),
                      }}
                      submit={words}
                      onCancel={() => void navigate({ to: "/trainings" })}
                      onSubmit={begin}
                    />
                  </>
                )}
              </>
            )}
          </div>
          <aside
            aria-label="Forecast"
            className="min-w-0 lg:sticky lg:top-5 lg:max-h-[calc(100vh-88px)] lg:self-start lg:overflow-y-auto"
          >
            <ForecastPanel
              wanted={wanted}
              chosen={hooks.length > 0}
              onApply={(path, next) => value && change(withValue(value, path.split("."), next))}
            />
          </aside>
        </div>
      </div>
    </>
  );
}

const VIEWS: [TextForm | "form", string][] = [
  ["form", "Form"],
  ["toml", "TOML"],
  ["json", "JSON"],
  ["command", "Command"],
  ["python", "Python"],
];

const sourcesOf = (value: FormValue | null) =>
  ((value?.sources as { tokenization_id?: string }[] | undefined) ?? []).map((one) => one.tokenization_id);

/** A value with one of its settings changed; what a grid tried for that setting is dropped. */
function withValue(value: FormValue, path: string[], next: unknown): FormValue {
  const [name, ...inner] = path;
  const key = gridName(path.join("."));
  const grid = Object.fromEntries(Object.entries((value.grid ?? {}) as Grid).filter(([one]) => one !== key));
  const set = (at: FormValue, parts: string[]): FormValue => {
    const [first, ...rest] = parts;
    return {
      ...at,
      [first as string]: rest.length > 0 ? set((at[first as string] ?? {}) as FormValue, rest) : next,
    };
  };
  return { ...set(value, [name as string, ...inner]), grid };
}
