import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type CSSProperties, useDeferredValue, useId, useMemo, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { Empty, ErrorNote, Field, format, Section, SkeletonLines, tip } from "@/kit";
import { glyphs } from "@/kit/TokenStrip";

type Token = components["schemas"]["TokenOut"];

const SAMPLE =
  "The President of the Senate read the message aloud.\n\nfor i in range(10): print(i)  # naïve 🦊";

/** Type, and see the tokens that the model would, with their ids. */
export function TokenizerPlayground({ modelId, ready }: { modelId: string; ready: boolean }) {
  const id = useId();
  const [text, setText] = useState(SAMPLE);
  const [special, setSpecial] = useState(true);
  const [ids, setIds] = useState(true);
  const wanted = useDeferredValue(text);
  const answer = useQuery({
    queryKey: ["models", modelId, "tokenize", wanted, special],
    queryFn: ({ signal }) =>
      body(
        api.POST("/api/v1/models/{model_id}/tokenize", {
          params: { path: { model_id: modelId } },
          body: { text: wanted, special_tokens: special },
          signal,
        }),
      ),
    enabled: ready,
    placeholderData: keepPreviousData,
    gcTime: 10_000,
  });
  const configuration = useQuery({
    queryKey: ["models", modelId, "configuration"],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/models/{model_id}/configuration", {
          params: { path: { model_id: modelId } },
          signal,
        }),
      ),
    enabled: ready,
  });
  const tokens = useMemo(() => answer.data?.tokens ?? [], [answer.data]);
  const repeated = useMemo(() => counts(tokens), [tokens]);
  if (!ready) return <Empty title="The model is not complete yet" />;
  const tick = (label: string, checked: boolean, set: (next: boolean) => void) => (
    <label className="flex w-max items-center gap-2">
      <input
        type="checkbox"
        className="accent-accent"
        checked={checked}
        onChange={(event) => set(event.target.checked)}
      />
      {label}
    </label>
  );
  return (
    <div className="grid gap-8 p-5 xl:grid-cols-[minmax(0,1fr)_260px]">
      <div className="flex min-w-0 flex-col gap-4">
        <Field id={id} label="Text">
          <textarea
            id={id}
            className="field font-mono [font-variant-ligatures:none]"
            rows={5}
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
        </Field>
        <div className="flex flex-wrap gap-x-6 gap-y-1">
          {tick("Let the tokenizer add its special tokens", special, setSpecial)}
          {tick("Show ids", ids, setIds)}
        </div>
        {answer.error && <ErrorNote error={answer.error} />}
        <section aria-label="Tokens" className="rounded-[6px] border border-line bg-surface p-3">
          {!answer.data && !answer.error && <SkeletonLines lines={2} />}
          <div className="mb-3 text-xs text-muted" hidden={!answer.data}>
            {format.plural(tokens.length, "token")} · {format.plural([...text].length, "character")}
            {tokens.length > 0 && ` · ${format.figure([...text].length / tokens.length)} characters a token`}
            {` · ${format.plural(repeated.size, "different one")}`}
          </div>
          <ol aria-label="Tokens of the text" className="flex flex-wrap gap-x-0.5 gap-y-1">
            {tokens.map((token, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: a token is its position.
              <Chip key={index} token={token} place={index} ids={ids} times={repeated.get(token.id) ?? 1} />
            ))}
          </ol>
        </section>
      </div>
      <Section title="Special tokens">
        {configuration.error && <ErrorNote error={configuration.error} />}
        {configuration.data ? (
          <ul className="flex max-h-[60vh] flex-col overflow-y-auto">
            {configuration.data.special_tokens.map((one) => (
              <li key={one.id} className="flex items-baseline gap-2 border-t border-line py-1">
                <code className="min-w-0 truncate [font-variant-ligatures:none]">{one.text}</code>
                <span className="text-xs text-muted">{one.roles.join(", ")}</span>
                <span className="ml-auto font-mono text-xs text-muted">{one.id}</span>
              </li>
            ))}
          </ul>
        ) : (
          !configuration.error && <SkeletonLines lines={4} />
        )}
      </Section>
    </div>
  );
}

function counts(tokens: Token[]): Map<number, number> {
  const found = new Map<number, number>();
  for (const token of tokens) found.set(token.id, (found.get(token.id) ?? 0) + 1);
  return found;
}

const COLOURS = 8;

/** A token and its id; equal tokens have the same colour, special ones a border. */
function Chip({ token, place, ids, times }: { token: Token; place: number; ids: boolean; times: number }) {
  const breaks = token.text.includes("\n");
  return (
    <>
      <li
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what a token is must be reachable by keyboard.
        tabIndex={0}
        className={`token-id ${token.special ? "font-medium outline outline-1 -outline-offset-1 outline-accent" : ""}`}
        style={{ "--chip": `var(--series-${(token.id % COLOURS) + 1})` } as CSSProperties}
        {...tip(
          `“${glyphs(token.text)}”${token.special ? ", special" : ""}\nId ${token.id}, place ${place}\nPiece ${token.piece}\nCharacters ${token.start}–${token.end}${times > 1 ? `\n${times} times in this text` : ""}`,
        )}
      >
        <span className="block font-mono text-xs whitespace-pre">{glyphs(token.text)}</span>
        {ids && <span className="block font-mono text-[10px] leading-3 text-muted">{token.id}</span>}
      </li>
      {breaks && <li aria-hidden="true" className="basis-full" />}
    </>
  );
}
