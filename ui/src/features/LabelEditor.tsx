import { Pencil } from "lucide-react";
import { type FormEvent, useState } from "react";
import { Problem } from "@/api/problem";
import { Button, tip, useKeys } from "@/kit";
import { writeLabel } from "./changes";
import type { FeatureRow } from "./query";
import { SourceMark } from "./SourceMark";

/** A feature's label, edited in place: Enter begins and saves, Escape leaves it as it was. */
export function LabelEditor({ extractionId, row }: { extractionId: string; row: FeatureRow }) {
  const [text, setText] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Problem | null>(null);
  const begin = () => {
    setError(null);
    setText(row.label ?? "");
  };
  useKeys("Feature", [{ keys: "enter", label: "edit the label", run: begin }], text === null);
  const save = async (event: FormEvent) => {
    event.preventDefault();
    const wanted = text?.trim() ?? "";
    if (wanted === "" && row.label_source !== "person") return setText(null);
    setBusy(true);
    try {
      await writeLabel(extractionId, row.index, wanted === "" ? null : wanted);
      setText(null);
    } catch (thrown) {
      setError(Problem.from(thrown));
    } finally {
      setBusy(false);
    }
  };
  if (text !== null)
    return (
      <form onSubmit={save} className="flex flex-col gap-2">
        <textarea
          // biome-ignore lint/a11y/noAutofocus: one has just asked to write here.
          autoFocus
          aria-label="Label"
          className="field"
          rows={3}
          maxLength={2000}
          value={text}
          placeholder="What does it stand for?"
          onFocus={(event) => event.currentTarget.select()}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey) void save(event);
            if (event.key === "Escape") {
              event.stopPropagation();
              setText(null);
            }
          }}
        />
        {error && (
          <p role="alert" className="text-xs text-failed">
            {error.detail} {error.hint}
          </p>
        )}
        <div className="flex items-center justify-end gap-2">
          <span className="mr-auto text-2xs text-muted">
            {row.label_source === "person" ? "Empty: the machine's again." : "Enter saves, Esc leaves."}
          </span>
          <Button size="h-6 px-2" onClick={() => setText(null)}>
            Cancel
          </Button>
          <Button size="h-6 px-2" type="submit" look="primary" busy={busy}>
            Save
          </Button>
        </div>
      </form>
    );
  return (
    <button
      type="button"
      onClick={begin}
      className="group -mx-1.5 block w-[calc(100%+12px)] rounded-[5px] px-1.5 py-1 text-left hover:bg-hover"
      {...tip("Edit the label (Enter)")}
    >
      {row.label ? (
        <span className="text-lg font-medium break-words">{row.label}</span>
      ) : (
        <span className="text-lg text-muted">No label</span>
      )}
      <Pencil size={13} aria-hidden="true" className="ml-1.5 inline text-faint" />
      {row.label && (
        <span className="mt-0.5 block text-xs">
          <SourceMark source={row.label_source} score={row.label_score} />
        </span>
      )}
    </button>
  );
}
