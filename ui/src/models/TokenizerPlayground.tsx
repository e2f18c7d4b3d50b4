import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useDeferredValue, useId, useState } from "react";
import { api, body } from "@/api/client";
import { Empty, ErrorNote, Field, format, SkeletonLines, TokenStrip } from "@/kit";

const SAMPLE = "The President of the Senate read the message aloud.";

/** Type, and see the tokens that the model would. */
export function TokenizerPlayground({ modelId, ready }: { modelId: string; ready: boolean }) {
  const id = useId();
  const [text, setText] = useState(SAMPLE);
  const [special, setSpecial] = useState(true);
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
  if (!ready) return <Empty title="The model is not complete yet" />;
  const tokens = answer.data?.tokens ?? [];
  return (
    <div className="flex max-w-4xl flex-col gap-4 p-5">
      <Field id={id} label="Text">
        <textarea
          id={id}
          className="field font-mono"
          rows={5}
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
      </Field>
      <label className="flex w-max items-center gap-2">
        <input
          type="checkbox"
          className="accent-accent"
          checked={special}
          onChange={(event) => setSpecial(event.target.checked)}
        />
        Let the tokenizer add its special tokens
      </label>
      {answer.error && <ErrorNote error={answer.error} />}
      <section aria-label="Tokens" className="rounded-[6px] border border-line bg-surface p-3">
        {!answer.data && !answer.error && <SkeletonLines lines={2} />}
        <div className="mb-2 text-xs text-muted" hidden={!answer.data}>
          {format.plural(tokens.length, "token")} · {format.plural([...text].length, "character")}
          {tokens.length > 0 && ` · ${format.figure([...text].length / tokens.length)} characters a token`}
        </div>
        <TokenStrip
          label="Tokens of the text"
          tokens={tokens.map((token) => token.text)}
          bounds
          note={(index) => {
            const token = tokens[index];
            return token ? `id ${token.id}, piece ${token.piece}${token.special ? ", special" : ""}` : "";
          }}
        />
      </section>
    </div>
  );
}
