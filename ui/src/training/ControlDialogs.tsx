/** Dialogs that steer a run: other values while it trains, more tokens, a run like it with some settings changed. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, type ReactNode, useId, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import {
  Button,
  Dialog,
  ErrorNote,
  Field,
  type FormValue,
  format,
  invalid,
  SchemaForm,
  SkeletonLines,
} from "@/kit";
import { flatten, settingWords } from "./differences";
import { type TrainingDetail, useTrainingForm } from "./form";
import { changeWords, KINDS } from "./words";

type LiveSetting = components["schemas"]["LiveSetting"];
type Wanted = components["schemas"]["TrainingCreate"];

/** Reads a number as it is typed, "3e-4" too; null where it is none. */
function numberOf(text: string): number | null {
  const value = Number(text.trim().replaceAll(",", ""));
  return text.trim() === "" || !Number.isFinite(value) ? null : value;
}

function refusal(setting: LiveSetting, text: string): string | undefined {
  const value = numberOf(text);
  if (value === null) return "A number is needed.";
  if (setting.integer && !Number.isInteger(value)) return "A whole number is needed.";
  if (setting.minimum !== null && value < setting.minimum) return `At least ${setting.minimum}.`;
  if (setting.exclusive_minimum !== null && value <= setting.exclusive_minimum)
    return `More than ${setting.exclusive_minimum}.`;
  if (setting.maximum !== null && value > setting.maximum) return `At most ${setting.maximum}.`;
  return undefined;
}

/** Changes settings from the run's next step on; each change becomes a mark on its curves. */
export function ChangeDialog({
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
      title="Change settings while it runs"
      description="They take effect with the next step and are marked on the curves."
    >
      <ChangeForm training={training} onClose={onClose} />
    </Dialog>
  );
}

function ChangeForm({ training, onClose }: { training: TrainingDetail; onClose: () => void }) {
  const base = useId();
  const client = useQueryClient();
  const at = { params: { path: { training_id: training.id } } };
  const { data, error } = useQuery({
    queryKey: ["trainings", training.id, "changes"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/trainings/{training_id}/changes", { ...at, signal })),
    staleTime: 0,
  });
  const [typed, setTyped] = useState<Record<string, string>>({});
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<unknown>(null);
  if (error) return <ErrorNote error={error} />;
  if (!data) return <SkeletonLines lines={4} />;
  const shown = (one: LiveSetting) => typed[one.name] ?? String(one.value);
  const wrong = data.live.filter((one) => refusal(one, shown(one)));
  const different = data.live.filter((one) => numberOf(shown(one)) !== one.value);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setFailed(null);
    try {
      for (const one of different)
        await body(
          api.POST("/api/v1/trainings/{training_id}/changes", {
            ...at,
            body: { name: one.name, value: numberOf(shown(one)) as number },
          }),
        );
      toast.success(
        different
          .map((one) =>
            changeWords({ name: one.name, before: one.value, after: numberOf(shown(one)) as number }),
          )
          .join(", "),
      );
      onClose();
    } catch (thrown) {
      setFailed(thrown);
    } finally {
      setBusy(false);
      void client.invalidateQueries({ queryKey: ["trainings", training.id] });
    }
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      {data.live.map((one) => {
        const id = `${base}-${one.name}`;
        const problem = refusal(one, shown(one));
        const after = numberOf(shown(one));
        return (
          <Field
            key={one.name}
            id={id}
            label={one.title}
            unit={one.unit ?? undefined}
            hint={one.description}
            error={problem}
          >
            <div className="flex items-center gap-3">
              <input
                id={id}
                inputMode="decimal"
                autoComplete="off"
                className="field w-40 tabular-nums"
                value={shown(one)}
                onChange={(event) => setTyped({ ...typed, [one.name]: event.target.value })}
                {...invalid(id, problem)}
              />
              <span className="text-muted">
                {after !== one.value && !problem ? (
                  <span className="text-accent">
                    now {format.exact(one.value)}
                    {after !== null && one.value !== 0 && `, ×${format.figure(after / one.value)}`}
                  </span>
                ) : (
                  "as it is now"
                )}
              </span>
            </div>
          </Field>
        );
      })}
      {data.waiting > 0 && (
        <p className="text-muted">
          {format.plural(data.waiting, "change")} asked for before will be made first
          {training.job?.state === "running" ? "." : ", once the run goes on."}
        </p>
      )}
      {data.changes.length > 0 && (
        <div>
          <div className="mb-1 text-xs text-muted">Changed so far</div>
          <ul className="max-h-32 overflow-y-auto">
            {data.changes.map((one) => (
              <li key={`${one.step} ${one.name} ${one.after}`} className="flex gap-3 tabular-nums">
                <span className="w-28 shrink-0 text-muted">step {format.exact(one.step)}</span>
                {changeWords(one)}
              </li>
            ))}
          </ul>
        </div>
      )}
      {failed !== null && <ErrorNote error={failed} />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Leave as it is</Button>
        <Button
          type="submit"
          look="primary"
          busy={busy}
          disabled={wrong.length > 0 || different.length === 0}
        >
          {different.length > 1 ? `Change ${different.length} settings` : "Change"}
        </Button>
      </div>
    </form>
  );
}

/** More tokens for a run that has ended or is paused, from its newest checkpoint or an earlier one. */
export function ContinueDialog({
  training,
  open,
  onClose,
  from,
}: {
  training: TrainingDetail;
  open: boolean;
  onClose: () => void;
  /** The step to go back to; none: the newest checkpoint. */
  from?: number;
}) {
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title={from === undefined ? "Train longer" : `Train longer from step ${format.exact(from)}`}
    >
      <ContinueForm training={training} onClose={onClose} from={from} />
    </Dialog>
  );
}

function ContinueForm({
  training,
  onClose,
  from,
}: {
  training: TrainingDetail;
  onClose: () => void;
  from?: number;
}) {
  const id = useId();
  const client = useQueryClient();
  const { config } = training;
  const total = config.total_tokens ?? 0;
  const [text, setText] = useState(String(2 * total));
  const [whole, setWhole] = useState(false);
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<unknown>(null);
  const wanted = numberOf(text);
  const problem =
    wanted === null || !Number.isInteger(wanted)
      ? "A whole number of tokens is needed."
      : wanted <= total
        ? `More than the ${format.exact(total)} that it was to see so far.`
        : undefined;
  const steps = wanted === null ? 0 : Math.ceil(wanted / (config.batch_size ?? 1));
  const decays = config.decay !== "constant" && (config.decay_fraction ?? 0) > 0;
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setFailed(null);
    try {
      await body(
        api.POST("/api/v1/trainings/{training_id}/continue", {
          params: { path: { training_id: training.id } },
          body: { total_tokens: wanted as number, checkpoint: from ?? null, whole_sweep: whole },
        }),
      );
      onClose();
    } catch (thrown) {
      setFailed(thrown);
    } finally {
      setBusy(false);
      void client.invalidateQueries({ queryKey: ["trainings"] });
    }
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      <Field id={id} label="Train until" unit="tokens" error={problem}>
        <div className="flex items-center gap-2">
          <input
            id={id}
            inputMode="numeric"
            autoComplete="off"
            className="field w-44 tabular-nums"
            value={text}
            onChange={(event) => setText(event.target.value)}
            {...invalid(id, problem)}
          />
          {[2, 4, 10].map((factor) => (
            <Button key={factor} look="quiet" onClick={() => setText(String(factor * total))}>
              ×{factor}
            </Button>
          ))}
        </div>
      </Field>
      <p className="text-muted">
        {problem
          ? "It goes on from its checkpoint."
          : `${format.figure((wanted as number) - total)} more than before; ${format.exact(steps)} steps in all.`}{" "}
        {decays &&
          "From where it goes on, the learning rate is that of a run of this length: where it had begun to decay, it rises again to its full size and decays at the new end."}
        {from !== undefined && " What came after that checkpoint is forgotten."}
      </p>
      {training.sweep_size > 1 && (
        <label className="flex items-center gap-2">
          <input type="checkbox" checked={whole} onChange={(event) => setWhole(event.target.checked)} />
          All {training.sweep_size} SAEs of this pass, not this one alone
        </label>
      )}
      {failed !== null && <ErrorNote error={failed} />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" look="primary" busy={busy} disabled={problem !== undefined}>
          Train longer
        </Button>
      </div>
    </form>
  );
}

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
    template_id: null,
  }));
  if (!form) return <SkeletonLines lines={8} />;
  const changes = settingChanges(training, value);
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
          <p className="text-muted">As it stands this repeats the run to the bit.</p>
        ) : (
          <ul className="flex flex-col gap-1">
            {changes.map((one) => (
              <li key={one.path} className="rounded-[5px] bg-accent-wash px-2 py-1">
                <div className="text-xs break-words text-muted">{one.path}</div>
                <div className="break-words tabular-nums">
                  <s className="text-muted">{one.before}</s> → <b className="font-medium">{one.after}</b>
                </div>
              </li>
            ))}
          </ul>
        )}
      </aside>
    </div>
  );
}

function settingChanges(training: TrainingDetail, value: FormValue) {
  const before = new Map([...flatten(training.config), ["held_out_tokens", training.held_out_tokens]]);
  const after = new Map([...flatten(value.config), ["held_out_tokens", value.held_out_tokens]]);
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((path) => settingWords(before.get(path)) !== settingWords(after.get(path)))
    .map((path) => ({
      path,
      before: settingWords(before.get(path)),
      after: settingWords(after.get(path)),
    }));
}

/** Does something, says what went wrong if it did, and looks at all runs anew. */
export function useAct(): {
  busy: boolean;
  act: (work: () => Promise<unknown>, said?: ReactNode) => Promise<void>;
} {
  const client = useQueryClient();
  const [busy, setBusy] = useState(false);
  const act = async (work: () => Promise<unknown>, said?: ReactNode) => {
    setBusy(true);
    try {
      await work();
      if (said) toast.success(said);
    } catch (error) {
      const problem = Problem.from(error);
      toast.error(problem.detail, { description: problem.hint ?? undefined });
    } finally {
      setBusy(false);
      await client.invalidateQueries({ queryKey: ["trainings"] });
    }
  };
  return { busy, act };
}
