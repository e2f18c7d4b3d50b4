import { Plus, X } from "lucide-react";
import type { components } from "@/api/schema";
import { Button, format, IconButton, invalid, tip } from "@/kit";

type Tokenization = components["schemas"]["TokenizationOut"];
type Source = { tokenization_id?: string; weight?: unknown };

/** Which tokens are read: one tokenization, or several of one model with their weights in the mixture. */
export function SourcesField({
  id,
  value,
  onChange,
  error,
  ready,
}: {
  id: string;
  value: unknown;
  onChange: (value: unknown) => void;
  error: string | undefined;
  /** Finished tokenizations. */
  ready: Tokenization[];
}) {
  const sources = (value as Source[] | undefined) ?? [];
  const modelId = ready.find((one) => one.id === sources[0]?.tokenization_id)?.model_id;
  const chosen = new Set(sources.map((one) => one.tokenization_id));
  const more = ready.filter((one) => one.model_id === modelId && !chosen.has(one.id));
  const total = sources.reduce((sum, one) => sum + (Number(one.weight) || 0), 0);
  const set = (at: number, part: Source) =>
    onChange(sources.map((one, index) => (index === at ? { ...one, ...part } : one)));
  return (
    <div className="flex flex-col gap-2">
      {sources.map((source, at) => (
        <div key={source.tokenization_id ?? at} className="flex items-center gap-2">
          <select
            id={at === 0 ? id : undefined}
            aria-label={at === 0 ? undefined : `Tokens ${at + 1}`}
            className="field min-w-0 flex-1"
            value={source.tokenization_id ?? ""}
            onChange={(event) => set(at, { tokenization_id: event.target.value })}
            {...(at === 0 ? invalid(id, error) : {})}
          >
            {ready
              .filter(
                (one) =>
                  one.id === source.tokenization_id ||
                  (!chosen.has(one.id) && (sources.length === 1 || one.model_id === modelId)),
              )
              .map((one) => (
                <option key={one.id} value={one.id}>
                  {one.dataset_name} / {one.name} · {one.model_name} · {format.figure(one.n_tokens)} tokens
                </option>
              ))}
          </select>
          {sources.length > 1 && (
            <>
              <label
                className="flex items-center gap-1.5 text-muted"
                {...tip("Share of the tokens read, against the other weights; they need not add up to 1.")}
              >
                Weight
                <input
                  className="field w-16!"
                  inputMode="decimal"
                  value={String(source.weight ?? 1)}
                  onChange={(event) => set(at, { weight: weightOf(event.target.value) })}
                />
              </label>
              <span className="w-10 shrink-0 text-right text-muted">
                {total > 0 ? format.percent((Number(source.weight) || 0) / total) : ""}
              </span>
              <IconButton
                label="Leave these tokens out"
                onClick={() => onChange(sources.filter((_, index) => index !== at))}
              >
                <X size={14} />
              </IconButton>
            </>
          )}
        </div>
      ))}
      {more[0] && (
        <div>
          <Button
            look="quiet"
            icon={<Plus size={14} />}
            hint="Mix the tokens of another tokenization in"
            onClick={() => onChange([...sources, { tokenization_id: more[0]?.id, weight: 1 }])}
          >
            Mix in more tokens
          </Button>
        </div>
      )}
    </div>
  );
}

/** A number where it is one; what is still being typed stays a text, which the schema refuses. */
function weightOf(text: string): number | string {
  return text.trim() === "" || Number.isNaN(Number(text)) ? text : text.endsWith(".") ? text : Number(text);
}
