/** Dialogs that steer a run: other values while it trains, and more tokens. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useId, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { Button, Dialog, ErrorNote, Field, format, invalid, SkeletonLines } from "@/kit";
import type { TrainingDetail } from "./form";
import { changeWords } from "./words";

type LiveSetting = components["schemas"]["LiveSetting"];

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
