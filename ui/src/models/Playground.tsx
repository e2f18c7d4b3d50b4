import { useEffect, useRef, useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { Empty, ErrorNote, useKeys, useUrlState } from "@/kit";
import { GeneratedText } from "./GeneratedText";
import type { Model } from "./ModelFacts";
import { missingIn, Prompt, type PromptValue, promptFields, startPrompt } from "./Prompt";
import type { ModelRequest } from "./playground";
import { RequestHistory } from "./RequestHistory";
import { SamplingFields } from "./SamplingFields";
import { SessionBar } from "./SessionBar";
import { isOpen, stopRequest, usePlayground } from "./usePlayground";

type Wanted = components["schemas"]["GenerationWanted"];
const FIELDS = ["max_new_tokens", "temperature", "top_p", "seed", "alternatives", "stop"] as const;
type Sampling = Partial<Pick<Wanted, (typeof FIELDS)[number]>>;

const FIRST: Sampling = {
  max_new_tokens: 64,
  temperature: 0.7,
  top_p: 0.95,
  seed: 0,
  alternatives: 5,
  stop: [],
};

/** Continue a text, or a chat, and see at each place what else could have stood there. */
export function Playground({ model }: { model: Model }) {
  const [prompt, setPrompt] = useState<PromptValue>(() => startPrompt());
  const [sampling, setSampling] = useState<Sampling>(FIRST);
  const [shownId, setShown] = useUrlState("text", "");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Problem | null>(null);
  const requests = usePlayground(model.id, "generate");
  const shown = requests.known.get(shownId || (requests.all[0]?.id ?? ""));
  const open = (one: ModelRequest) => {
    const wanted = one.request as Wanted;
    setPrompt(startPrompt(wanted));
    setSampling(Object.fromEntries(FIELDS.map((name) => [name, wanted[name]])));
    setShown(one.id);
  };
  // Who comes back finds what was asked last.
  const begun = useRef(false);
  const first = prompt.text === "" ? shown : undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, when the first text is there.
  useEffect(() => {
    if (!first || begun.current) return;
    begun.current = true;
    open(first);
  }, [first?.id]);
  const missing = missingIn(prompt);
  const generate = async () => {
    begun.current = true;
    setBusy(true);
    setError(null);
    try {
      const wanted = {
        ...sampling,
        ...promptFields(prompt),
      } as Wanted;
      const made = await body(
        api.POST("/api/v1/models/{model_id}/generate", {
          params: { path: { model_id: model.id } },
          body: wanted,
        }),
      );
      requests.add([made]);
      setShown(made.id);
    } catch (thrown) {
      setError(Problem.from(thrown));
    } finally {
      setBusy(false);
    }
  };
  const ready = model.ready && missing === null && !busy;
  useKeys("Playground", [{ keys: "ctrl+enter", label: "generate", run: () => ready && void generate() }]);
  if (!model.ready) return <Empty title="The model is not complete yet" />;
  return (
    <div className="flex min-h-0 flex-1 flex-col overflow-y-auto lg:flex-row lg:overflow-hidden">
      <div className="flex min-w-0 flex-1 flex-col gap-4 p-5 lg:overflow-y-auto">
        <SessionBar model={model} />
        <Prompt
          chats={model.has_chat_template}
          value={prompt}
          onChange={setPrompt}
          missing={missing}
          ready={ready}
          busy={busy}
          onGenerate={() => void generate()}
          onStop={
            isOpen(shown)
              ? () =>
                  void stopRequest(shown)
                    .then((one) => requests.add([one]))
                    .catch((thrown) => setError(Problem.from(thrown)))
              : null
          }
        />
        {error && <ErrorNote error={error} />}
        {requests.error && <ErrorNote error={requests.error} />}
        <GeneratedText
          request={shown}
          onGoOn={(text) =>
            setPrompt({
              ...prompt,
              chat: true,
              messages: [
                ...((shown?.request as Wanted | undefined)?.messages ?? []),
                { role: "assistant", content: text },
                { role: "user", content: "" },
              ],
            })
          }
        />
        <RequestHistory all={requests.all} shown={shown?.id} onOpen={open} onGone={requests.remove} />
      </div>
      <div className="shrink-0 border-line p-5 lg:w-[300px] lg:overflow-y-auto lg:border-l">
        <SamplingFields
          schema="GenerationWanted"
          fields={FIELDS}
          value={sampling}
          onChange={setSampling}
          errors={error?.fields ?? {}}
        />
      </div>
    </div>
  );
}
