import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { Dialog, type FormValue, format, SchemaForm, SkeletonLines, tip } from "@/kit";
import { flatten } from "./differences";
import { type TrainingDetail, useTrainingForm } from "./form";
import { useRunFields } from "./runs";
import { KINDS, settingWords } from "./words";

type Wanted = components["schemas"]["TrainingCreate"];

const NOT_CLONED = [
  "sources",
  "hooks",
  "cache_id",
  "harvest",
  "grid",
  "template_id",
  "config.skip_connection",
];
const CLONE_BASIC = [
  "name",
  "config.architecture",
  "config.d_sae",
  "config.total_tokens",
  "config.batch_size",
  "config.learning_rate",
];

/** A run on the same activations with some settings changed; the difference stands beside the form as one types. */
export function CloneDialog({
  training,
  open,
  onClose,
}: {
  training: TrainingDetail;
  open: boolean;
  onClose: () => void;
}) {
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title={`Clone “${training.name}”`}
      description={`The same tokens and hook point, ${training.hook}.`}
      wide="page"
    >
      <CloneForm training={training} onClose={onClose} />
    </Dialog>
  );
}

function CloneForm({ training, onClose }: { training: TrainingDetail; onClose: () => void }) {
  const form = useTrainingForm();
  const client = useQueryClient();
  const navigate = useNavigate();
  const [value, setValue] = useState<FormValue>(() => ({
    name: `${training.name} (clone)`.slice(0, 200),
    sources: training.sources.map((one) => ({ tokenization_id: one.tokenization_id, weight: one.weight })),
    hooks: [training.hook],
    cache_id: training.cache_id,
    harvest: training.cache_id ? null : (training.harvest as unknown as FormValue),
    held_out_tokens: training.held_out_tokens,
    config: training.config as unknown as FormValue,
    grid: {},
    trackers: training.trackers,
    ...(training.tracker_project ? { tracker_project: training.tracker_project } : {}),
    template_id: null,
  }));
  if (!form) return <SkeletonLines lines={8} />;
  const changes = settingChanges(training, value);
  const gone = changes.filter((one) => one.after === undefined);
  const begin = async (chosen: FormValue) => {
    const made = await body(api.POST("/api/v1/trainings", { body: chosen as unknown as Wanted }));
    void client.invalidateQueries({ queryKey: ["trainings"] });
    onClose();
    const [first] = made.trainings;
    if (first) await navigate({ to: "/trainings/$id", params: { id: first.id } });
  };
  return (
    <div className="grid gap-6 lg:grid-cols-[minmax(0,1fr)_300px]">
      <div className="min-w-0">
        <SchemaForm
          schema={form.schema}
          resolve={form.resolve}
          value={value}
          onChange={setValue}
          basic={CLONE_BASIC}
          kinds={KINDS}
          hidden={NOT_CLONED}
          searchable
          onSubmit={begin}
          submit="Start the clone"
          onCancel={onClose}
        />
      </div>
      <aside className="min-w-0 lg:sticky lg:top-0 lg:self-start">
        <h3 className="mb-2 font-medium">
          {changes.length === 0 ? "Nothing changed yet" : format.plural(changes.length, "change")}
        </h3>
        {changes.length === 0 ? (
          <p className="text-muted">
            As it stands this repeats the run to the bit, but for what was changed while it trained.
          </p>
        ) : (
          <ul className="flex flex-col gap-1">
            {changes
              .filter((one) => one.after !== undefined)
              .map((one) => (
                <li key={one.path} className="rounded-[5px] bg-accent-wash px-2 py-1">
                  <Setting path={one.path} />
                  <div className="break-words tabular-nums">
                    {one.before !== undefined && (
                      <>
                        <s className="text-muted">{settingWords(one.path, one.before)}</s> →{" "}
                      </>
                    )}
                    <b className="font-medium">
                      <Value path={one.path} value={one.after} />
                    </b>
                  </div>
                </li>
              ))}
            {gone.length > 0 && (
              <li className="rounded-[5px] bg-sunken px-2 py-1">
                <div className="text-xs text-muted">No longer there</div>
                <ul>
                  {gone.map((one) => (
                    <li key={one.path} className="flex flex-wrap gap-x-2">
                      <Setting path={one.path} />
                      <s className="text-muted">
                        <Value path={one.path} value={one.before} />
                      </s>
                    </li>
                  ))}
                </ul>
              </li>
            )}
          </ul>
        )}
      </aside>
    </div>
  );
}

/** A setting by the form's title for it. */
function Setting({ path }: { path: string }) {
  const field = useRunFields()?.byName.get(path);
  return (
    <span className="text-xs break-words text-muted" {...tip(field && `${field.description}\n${path}`)}>
      {field?.title ?? path}
    </span>
  );
}

function Value({ path, value }: { path: string; value: unknown }) {
  const unit = useRunFields()?.byName.get(path)?.unit;
  return (
    <>
      {settingWords(path, value)}
      {unit && typeof value === "number" && <span className="font-normal text-muted"> {unit}</span>}
    </>
  );
}

/** Where the clone differs; undefined on the side that has no such setting. */
function settingChanges(training: TrainingDetail, value: FormValue) {
  const before = new Map([...flatten(training.config), ["held_out_tokens", training.held_out_tokens]]);
  const after = new Map([...flatten(value.config), ["held_out_tokens", value.held_out_tokens]]);
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((path) => JSON.stringify(before.get(path)) !== JSON.stringify(after.get(path)))
    .map((path) => ({ path, before: before.get(path), after: after.get(path) }));
}
