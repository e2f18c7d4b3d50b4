import { CornerUpLeft } from "lucide-react";
import { Problem } from "@/api/problem";
import { Button, CopyButton, ErrorNote, format, Skeleton, TokenStrip, tip } from "@/kit";
import type { Generation, Side, Tokens } from "./generations";

const FINISHES: Record<string, string> = {
  eos: "the model ended it",
  stop: "ended at a stop text",
  length: "as long as was asked",
  context: "the model's context is full",
  cancelled: "stopped",
};

/** Both texts, side by side, as they are written. */
export function Outputs({
  generation,
  phase,
  pending,
  onTake,
}: {
  generation: Generation | undefined;
  phase: string;
  pending: boolean;
  /** Takes a text into the chat, to go on from it. */
  onTake: ((text: string) => void) | null;
}) {
  if (!generation)
    return pending ? (
      <div className="grid gap-4 md:grid-cols-2">
        <Skeleton className="h-40 w-full" />
        <Skeleton className="h-40 w-full" />
      </div>
    ) : (
      <p className="py-8 text-center text-muted">
        {phase === "loading" || phase === "waiting"
          ? "The model is being loaded. What you ask for meanwhile is written as soon as it is there."
          : "The unsteered and the steered text appear here side by side."}
      </p>
    );
  const unsteered = generation.outputs.unsteered?.tokens ?? [];
  const steered = generation.outputs.steered?.tokens ?? [];
  const shared = generation.request.compare ? common(unsteered, steered) : 0;
  return (
    <section aria-label="Texts" className="flex flex-col gap-3">
      {generation.error && (
        <ErrorNote error={new Problem({ ...generation.error, detail: generation.error.message }, 0)} />
      )}
      <div className={`grid gap-4 ${generation.request.compare ? "md:grid-cols-2" : ""}`}>
        {generation.request.compare && (
          <Text side="unsteered" generation={generation} shared={shared} onTake={onTake} />
        )}
        <Text side="steered" generation={generation} shared={shared} onTake={onTake} />
      </div>
    </section>
  );
}

/** How many tokens both begin with. */
function common(one: Tokens, other: Tokens): number {
  let place = 0;
  while (place < one.length && place < other.length && one[place]?.id === other[place]?.id) place += 1;
  return place;
}

function Text({
  side,
  generation,
  shared,
  onTake,
}: {
  side: Side;
  generation: Generation;
  shared: number;
  onTake: ((text: string) => void) | null;
}) {
  const output = generation.outputs[side];
  const tokens = output?.tokens ?? [];
  const prompt = generation.request.messages ? "" : (generation.request.prompt ?? "");
  const writing = generation.state === "writing" && !output?.finish;
  return (
    <article
      aria-label={side === "steered" ? "Steered text" : "Unsteered text"}
      className={`flex min-w-0 flex-col rounded-[7px] border bg-surface ${side === "steered" ? "border-accent" : "border-line"}`}
    >
      <header className="flex h-9 items-center gap-2 border-b border-line pr-1.5 pl-3">
        <h2 className="flex-1 font-semibold">{side === "steered" ? "Steered" : "Unsteered"}</h2>
        {onTake && output?.finish && output.text && (
          <Button
            size="h-6 px-2"
            look="quiet"
            icon={<CornerUpLeft size={13} />}
            hint="Go on with the chat from this answer"
            onClick={() => onTake(output.text ?? "")}
          >
            Go on
          </Button>
        )}
        <CopyButton text={prompt + (output?.text ?? "")} label={`Copy the ${side} text`} />
      </header>
      <div className="min-h-28 flex-1 p-3" aria-live="off" aria-busy={writing}>
        {prompt && <span className="text-muted whitespace-pre-wrap">{prompt}</span>}
        <Written
          tokens={tokens}
          shared={side === "steered" ? shared : 0}
          label={`${side} text, token by token`}
        />
        {writing && (
          <span
            aria-hidden="true"
            className="ml-0.5 inline-block h-4 w-1.5 animate-pulse bg-accent align-text-bottom"
          />
        )}
        {generation.state === "waiting" && <span className="text-muted">Waiting for its turn…</span>}
      </div>
      <footer className="flex flex-wrap gap-x-3 border-t border-line px-3 py-1 text-xs text-muted">
        <span>{format.plural(tokens.length, "token")}</span>
        {output?.perplexity !== null && output?.perplexity !== undefined && (
          <span
            {...tip(
              "How unlikely the unsteered model itself would find this text; lower is more fluent",
              "exp(−Σ log p(token) / N), p of the unsteered model",
            )}
          >
            perplexity {format.figure(output.perplexity)}
          </span>
        )}
        {output?.finish && <span>{FINISHES[output.finish] ?? output.finish}</span>}
        {generation.finished_at && generation.started_at && (
          <span className="ml-auto">
            {format.duration(
              (format.parseTime(generation.finished_at).getTime() -
                format.parseTime(generation.started_at).getTime()) /
                1000,
            )}
          </span>
        )}
      </footer>
    </article>
  );
}

/** Tokens as text; where it leaves the unsteered text is underlined. */
function Written({ tokens, shared, label }: { tokens: Tokens; shared: number; label: string }) {
  if (tokens.length === 0) return null;
  return (
    <TokenStrip
      label={label}
      prose
      tokens={tokens.map((token) => token.text)}
      mark={shared > 0 && shared < tokens.length ? shared : undefined}
      note={(index) => {
        const logprob = tokens[index]?.logprob ?? 0;
        return `Probability ${format.percent(Math.exp(logprob))}${index === shared && shared > 0 ? "\nFrom here it differs" : ""}`;
      }}
    />
  );
}
