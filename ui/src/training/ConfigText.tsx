import { useQuery } from "@tanstack/react-query";
import { Check, Copy } from "lucide-react";
import { useEffect, useId, useRef, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { Button, copyText, ErrorNote, SkeletonLines } from "@/kit";

type Wanted = components["schemas"]["TrainingCreate"];
type Fault = components["schemas"]["DocumentFault"];
export type TextForm = "toml" | "json" | "python" | "command";

const WORDS: Record<TextForm, string> = {
  toml: "The whole configuration: edit it here, paste another, or keep it in a file for mistudio train FILE.",
  json: "The same as JSON, as POST /api/v1/trainings takes it.",
  python: "Trains the same SAEs in a notebook or script beside the data folder, to the bit.",
  command: "Starts the same run from a terminal and shows a live line for each SAE.",
};
const PAUSE_MS = 250;

/** The configuration as a text. TOML and JSON can be edited: what can be read becomes the form's state. */
export function ConfigText({
  form,
  wanted,
  onChange,
  onStart,
  start,
}: {
  form: TextForm;
  /** The form's state where it is complete. */
  wanted: Wanted | null;
  onChange: (wanted: Wanted) => void;
  /** Starts what the form says; undefined while that is not complete. */
  onStart: (() => Promise<unknown>) | undefined;
  /** What the button to start says. */
  start: string;
}) {
  const editable = form === "toml" || form === "json";
  const shape = JSON.stringify(wanted);
  const texts = useQuery({
    queryKey: ["training texts", shape],
    enabled: wanted !== null,
    queryFn: ({ signal }) => body(api.POST("/api/v1/trainings/texts", { body: wanted as Wanted, signal })),
    gcTime: 30_000,
  });
  const [typed, setTyped] = useState<string | null>(null);
  const [faults, setFaults] = useState<Fault[]>([]);
  const [failure, setFailure] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const given = texts.data?.[form];
  const text = typed ?? given ?? "";

  // biome-ignore lint/correctness/useExhaustiveDependencies: read once for each text that was typed
  useEffect(() => {
    if (typed === null || !editable) return;
    const cancelled = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const read = await body(
          api.POST("/api/v1/trainings/document", {
            body: { text: typed, format: form as "toml" | "json" },
            signal: cancelled.signal,
          }),
        );
        setFailure(null);
        setFaults(read.faults);
        if (read.request) onChange(read.request);
      } catch (thrown) {
        if (!cancelled.signal.aborted) setFailure(thrown);
      }
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      cancelled.abort();
    };
  }, [typed, form]);

  if (wanted === null && typed === null && !editable)
    return (
      <p className="text-muted">
        Choose tokens and hook points, and mend what the form marks: then the configuration can be copied.
      </p>
    );
  return (
    <div className="flex min-w-0 flex-col gap-2">
      <div className="flex items-center gap-2">
        <p className="min-w-0 flex-1 text-muted">{WORDS[form]}</p>
        {typed !== null && faults.length > 0 && given && (
          <Button
            onClick={() => {
              setTyped(null);
              setFaults([]);
            }}
            hint="Back to what the form says"
          >
            Undo typing
          </Button>
        )}
        <CopyText text={text} />
      </div>
      {failure !== null && <ErrorNote error={failure} />}
      {texts.error && typed === null ? (
        <ErrorNote error={texts.error} onRetry={() => void texts.refetch()} />
      ) : !given && wanted !== null && typed === null ? (
        <SkeletonLines lines={10} />
      ) : editable ? (
        <Editor
          label={`Configuration as ${form.toUpperCase()}`}
          text={text}
          faults={faults}
          onChange={setTyped}
        />
      ) : (
        <section
          // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it
          tabIndex={0}
          aria-label={form === "python" ? "As Python" : "As a command"}
          className="overflow-x-auto rounded-[5px] border border-line-strong bg-surface p-3 font-mono text-xs leading-5"
        >
          <pre>{text}</pre>
        </section>
      )}
      <div className="flex justify-end">
        <Button
          look="primary"
          busy={busy}
          disabled={!onStart || faults.length > 0}
          onClick={async () => {
            setBusy(true);
            try {
              await onStart?.();
            } catch (thrown) {
              setFailure(thrown);
            } finally {
              setBusy(false);
            }
          }}
        >
          {start}
        </Button>
      </div>
    </div>
  );
}

function CopyText({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <Button
      icon={copied ? <Check size={14} /> : <Copy size={14} />}
      disabled={!text}
      onClick={async () => {
        await copyText(text);
        setCopied(true);
        timer.current = setTimeout(() => setCopied(false), 1500);
      }}
    >
      {copied ? "Copied" : "Copy"}
    </Button>
  );
}

/** A text with numbered lines; the faulty ones are marked, and listed below with what is wrong. */
function Editor({
  label,
  text,
  faults,
  onChange,
}: {
  label: string;
  text: string;
  faults: Fault[];
  onChange: (text: string) => void;
}) {
  const id = useId();
  const area = useRef<HTMLTextAreaElement>(null);
  const lines = text.split("\n");
  const wrong = new Set(faults.map((fault) => fault.line));
  const go = (line: number) => {
    const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    area.current?.focus();
    area.current?.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
  };
  return (
    <div>
      <div className="flex overflow-hidden rounded-[5px] border border-line-strong bg-surface font-mono text-xs leading-5 focus-within:border-accent">
        <div
          aria-hidden="true"
          className="shrink-0 border-r border-line bg-sunken py-2 text-right text-faint select-none"
        >
          {lines.map((_, index) => (
            <div
              // biome-ignore lint/suspicious/noArrayIndexKey: a line is its number
              key={index}
              className={`px-2 ${wrong.has(index + 1) ? "bg-failed-wash font-medium text-failed" : ""}`}
            >
              {index + 1}
            </div>
          ))}
        </div>
        <textarea
          ref={area}
          aria-label={label}
          aria-invalid={faults.length > 0 || undefined}
          aria-describedby={faults.length > 0 ? id : undefined}
          className="min-w-0 flex-1 resize-none overflow-x-auto bg-transparent px-3 py-2 whitespace-pre outline-none"
          rows={Math.max(lines.length, 12)}
          spellCheck={false}
          placeholder="Paste a configuration, or choose hook points in the form."
          wrap="off"
          value={text}
          onChange={(event) => onChange(event.target.value)}
        />
      </div>
      <ul id={id} aria-live="polite" className="mt-2 flex flex-col gap-1">
        {faults.map((fault) => (
          <li key={`${fault.line} ${fault.message}`}>
            <button
              type="button"
              className="rounded-[3px] text-left text-failed hover:underline"
              onClick={() => go(fault.line)}
            >
              <span className="font-medium">
                Line {fault.line}
                {fault.column ? `, column ${fault.column}` : ""}:
              </span>{" "}
              {fault.message}
            </button>
          </li>
        ))}
        {faults.length > 0 && <li className="text-muted">Not applied: the form keeps what it had.</li>}
      </ul>
    </div>
  );
}
