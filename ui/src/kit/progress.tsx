import { Ban, Check, CircleDashed, CirclePause, LoaderCircle, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { done as donePercent, duration, figure, bytes as formatBytes, rate as formatRate } from "./format";

export type State =
  | "queued"
  | "running"
  | "succeeded"
  | "failed"
  | "cancelled"
  | "cancelling"
  | "paused"
  | "ready"
  | "warning";

const STATES: Record<State, { word: string; colour: string; shape: ReactNode }> = {
  queued: { word: "queued", colour: "text-muted", shape: <CircleDashed size={13} /> },
  running: {
    word: "running",
    colour: "text-running",
    shape: <LoaderCircle size={13} className="animate-[spin_1.6s_linear_infinite]" />,
  },
  cancelling: { word: "cancelling", colour: "text-warning", shape: <Ban size={13} /> },
  paused: { word: "paused", colour: "text-warning", shape: <CirclePause size={13} /> },
  succeeded: { word: "done", colour: "text-done", shape: <Check size={13} strokeWidth={2.5} /> },
  ready: { word: "ready", colour: "text-done", shape: <Check size={13} strokeWidth={2.5} /> },
  failed: { word: "failed", colour: "text-failed", shape: <TriangleAlert size={13} /> },
  warning: { word: "warning", colour: "text-warning", shape: <TriangleAlert size={13} /> },
  cancelled: { word: "cancelled", colour: "text-muted", shape: <Ban size={13} /> },
};

/** A state as word, shape and colour, so that none of the three is needed alone. */
export function StateBadge({ state, word }: { state: string; word?: string }) {
  const look = STATES[state as State] ?? STATES.queued;
  return (
    <span className={`inline-flex items-center gap-1 whitespace-nowrap ${look.colour}`}>
      <span aria-hidden="true">{look.shape}</span>
      {word ?? (state in STATES ? look.word : state)}
    </span>
  );
}

export interface Progress {
  done?: number | null;
  total?: number | null;
  unit?: string | null;
  rate?: number | null;
  seconds_left?: number | null;
  stage?: string | null;
}

/** Share of the work done, 0..1; null when the total is not known. */
export function shareDone(progress: Progress): number | null {
  return progress.total && progress.done !== null && progress.done !== undefined
    ? Math.min(1, progress.done / progress.total)
    : null;
}

/** "Harvest · 1.2 M of 4 M tokens · 48.2 k tokens/s · 1 min 20 s left" */
export function progressWords(progress: Progress, parts: { stage?: boolean } = {}): string {
  const unit = progress.unit ?? "";
  const show = (value: number) => (unit === "bytes" ? formatBytes(value) : figure(value));
  const words: string[] = [];
  if (progress.stage && parts.stage !== false) words.push(progress.stage);
  if (progress.done !== null && progress.done !== undefined) {
    const of = progress.total ? ` of ${show(progress.total)}` : "";
    if (progress.done > 0 || of)
      words.push(`${show(progress.done)}${of}${unit === "bytes" ? "" : ` ${unit}`}`);
  }
  if (progress.rate) words.push(formatRate(progress.rate, unit));
  if (progress.seconds_left !== null && progress.seconds_left !== undefined)
    words.push(`${duration(progress.seconds_left)} left`);
  return words.join(" · ");
}

/** A thin bar; without a total it moves to and fro. */
export function ProgressBar({
  progress,
  label,
  words = true,
}: {
  progress: Progress;
  label: string;
  /** Show amount, rate and time left under the bar. */
  words?: boolean;
}) {
  const share = shareDone(progress);
  const text = progressWords(progress);
  return (
    <div className="min-w-0">
      <div
        role="progressbar"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={share === null ? undefined : Math.round(share * 100)}
        aria-valuetext={text || undefined}
        className="relative h-1 overflow-hidden rounded-full bg-line"
      >
        {share === null ? (
          <div className="absolute inset-y-0 w-1/3 animate-[breathe_1.4s_ease-in-out_infinite] rounded-full bg-running motion-reduce:w-full motion-reduce:animate-none motion-reduce:opacity-40" />
        ) : (
          <div
            className="h-full rounded-full bg-running transition-[width] duration-200"
            style={{ width: `${share * 100}%` }}
          />
        )}
      </div>
      {words && (
        <div className="mt-1 flex gap-2 text-xs text-muted">
          {share !== null && <span className="min-w-10 shrink-0 text-ink">{donePercent(share)}</span>}
          <span className="min-w-0 truncate">{text || "Starting"}</span>
        </div>
      )}
    </div>
  );
}
