import { CornerUpLeft } from "lucide-react";
import { useState } from "react";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { Button, CopyButton, ErrorNote, format, TokenStrip, tip } from "@/kit";
import { glyphs } from "@/kit/TokenStrip";
import type { ModelRequest, Piece } from "./playground";

const FINISHES: Record<string, string> = {
  eos: "the model ended it",
  stop: "ended at a stop text",
  length: "as long as was asked",
  context: "the model's context is full",
  cancelled: "stopped",
};
// A token this improbable (nats) has the full shade: 1 in 1,000.
const FULL_SHADE = Math.log(1000);

/** A text as it is written: shaded by surprise, with the alternatives at the place that one chooses. */
export function GeneratedText({
  request,
  onGoOn,
}: {
  request: ModelRequest | undefined;
  onGoOn: (text: string) => void;
}) {
  const [picked, setPicked] = useState<{ id: string; place: number } | null>(null);
  if (!request)
    return (
      <p className="py-8 text-center text-muted">
        What the model writes appears here. Click a token to see what else could have stood there.
      </p>
    );
  const wanted = request.request as components["schemas"]["GenerationWanted"];
  const result = request.generation;
  const tokens = result?.tokens ?? [];
  const writing = request.state === "writing" && !result?.finish;
  const place = picked?.id === request.id ? picked.place : undefined;
  const piece = place === undefined ? undefined : tokens[place];
  const surprise = tokens.map((token) => -token.logprob);
  const mean = surprise.length > 0 ? surprise.reduce((sum, one) => sum + one, 0) / surprise.length : null;
  const chat = wanted.messages !== null && wanted.messages !== undefined;
  return (
    <section aria-label="Text" className="flex flex-col gap-3">
      {request.error && (
        <ErrorNote error={new Problem({ ...request.error, detail: request.error.message }, 0)} />
      )}
      <article className="flex min-w-0 flex-col rounded-[7px] border border-line bg-surface">
        <div className="min-h-28 p-3" aria-busy={writing}>
          <span className="whitespace-pre-wrap text-muted">
            {chat ? (result?.prompt_tokens ?? []).map((token) => token.text).join("") : (wanted.prompt ?? "")}
          </span>
          {tokens.length > 0 && (
            <TokenStrip
              label="Written text, token by token"
              prose
              tokens={tokens.map((token) => token.text)}
              values={surprise}
              max={FULL_SHADE}
              valueName="Surprise (nats)"
              mark={place}
              onToken={(index) => setPicked({ id: request.id, place: index })}
              note={(index) => words(tokens[index])}
            />
          )}
          {writing && (
            <span
              aria-hidden="true"
              className="ml-0.5 inline-block h-4 w-1.5 animate-pulse bg-accent align-text-bottom"
            />
          )}
          {request.state === "waiting" && (
            <span className="text-muted">Waiting: the model is loaded first, if it is not yet.</span>
          )}
        </div>
        <footer className="flex min-h-8 flex-wrap items-center gap-x-3 border-t border-line px-3 py-1 text-xs text-muted">
          <span>{format.plural(tokens.length, "token")}</span>
          {mean !== null && (
            <span
              {...tip(
                "How unlikely the model finds its own text at temperature 1; lower is surer",
                "exp(−Σ log p(token) / N)",
              )}
            >
              perplexity {format.figure(Math.exp(mean))}
            </span>
          )}
          {result?.finish && <span>{FINISHES[result.finish] ?? result.finish}</span>}
          {request.finished_at && request.started_at && (
            <span>
              {format.duration(
                (format.parseTime(request.finished_at).getTime() -
                  format.parseTime(request.started_at).getTime()) /
                  1000,
              )}
            </span>
          )}
          <span className="ml-auto" />
          {chat && result?.finish && result.text && (
            <Button
              size="h-6 px-2"
              look="quiet"
              icon={<CornerUpLeft size={13} />}
              hint="Go on with the chat from this answer"
              onClick={() => onGoOn(result.text ?? "")}
            >
              Go on
            </Button>
          )}
          <CopyButton text={(wanted.prompt ?? "") + (result?.text ?? "")} label="Copy the text" />
        </footer>
      </article>
      {piece && place !== undefined && <Alternatives piece={piece} place={place} />}
    </section>
  );
}

function words(piece: Piece | undefined): string {
  if (!piece) return "";
  const others = (piece.alternatives ?? []).map(
    (one) => `${format.percent(Math.exp(one.logprob))}  “${glyphs(one.text)}”`,
  );
  return [`Probability ${format.percent(Math.exp(piece.logprob))}`, ...others].join("\n");
}

/** The most probable tokens at one place as bars; the one that was drawn is outlined. */
function Alternatives({ piece, place }: { piece: Piece; place: number }) {
  const listed = piece.alternatives ?? [];
  const all = listed.some((one) => one.id === piece.id)
    ? listed
    : [...listed, { id: piece.id, text: piece.text, logprob: piece.logprob }];
  const rest = 1 - all.reduce((sum, one) => sum + Math.exp(one.logprob), 0);
  return (
    <section aria-label="Alternatives" className="max-w-xl">
      <h3 className="mb-1 text-xs text-muted">
        Token {place + 1} of the text: what else could have stood there
      </h3>
      <ul className="flex flex-col gap-0.5">
        {all.map((one) => (
          <li
            key={one.id}
            className="grid grid-cols-[minmax(90px,160px)_64px_70px_minmax(0,1fr)] items-center gap-2"
            {...tip(`Id ${one.id}\nlog p ${format.figure(one.logprob)}`)}
          >
            <code
              className={`truncate rounded-[3px] px-1 ${one.id === piece.id ? "outline outline-1 outline-accent" : ""}`}
            >
              {glyphs(one.text)}
            </code>
            <span className="text-right">{format.percent(Math.exp(one.logprob))}</span>
            <span className="text-right text-xs text-muted">{one.logprob.toFixed(2)}</span>
            <span
              className="h-2.5 rounded-[2px] bg-bar"
              style={{ width: `${Math.exp(one.logprob) * 100}%` }}
            />
          </li>
        ))}
      </ul>
      {rest > 0 && <p className="mt-1 text-xs text-muted">All others together {format.percent(rest)}</p>}
    </section>
  );
}
