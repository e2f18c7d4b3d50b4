import { useEffect, useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { Empty, ErrorNote, Skeleton, useKeys, useUrlState } from "@/kit";
import { LensGrid } from "./LensGrid";
import type { Model } from "./ModelFacts";
import { missingIn, Prompt, type PromptValue, promptFields, startPrompt } from "./Prompt";
import type { ModelRequest } from "./playground";
import { RequestHistory } from "./RequestHistory";
import { SessionBar } from "./SessionBar";
import { isOpen, stopRequest, usePlayground } from "./usePlayground";

type Wanted = components["schemas"]["LensWanted"];

/** What the model would say next if each layer were its last, for every token of a prompt. */
export function LogitLens({ model }: { model: Model }) {
  const [prompt, setPrompt] = useState<PromptValue>(() => ({
    ...startPrompt(),
    text: "The Eiffel Tower is in the city of Paris, and the Colosseum is in the city of",
  }));
  const [last, setLast] = useState(64);
  const [shownId, setShown] = useUrlState("lens", "");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Problem | null>(null);
  const requests = usePlayground(model.id, "lens");
  const shown = requests.known.get(shownId || (requests.all[0]?.id ?? ""));
  const { fetchOne } = requests;
  const incomplete = shown?.state === "done" && !shown.lens ? shown.id : null;
  useEffect(() => {
    // Events and lists come without the grid.
    if (incomplete) void fetchOne(incomplete);
  }, [incomplete, fetchOne]);
  const missing = missingIn(prompt);
  const ready = model.ready && missing === null && !busy;
  const look = async () => {
    setBusy(true);
    setError(null);
    try {
      const wanted = {
        last,
        top_k: 5,
        ...promptFields(prompt),
      } as Wanted;
      const made = await body(
        api.POST("/api/v1/models/{model_id}/lens", {
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
  const open = (one: ModelRequest) => {
    const wanted = one.request as Wanted;
    setPrompt(startPrompt(wanted));
    setLast(wanted.last ?? 64);
    setShown(one.id);
  };
  useKeys("Logit lens", [{ keys: "ctrl+enter", label: "look", run: () => ready && void look() }]);
  if (!model.ready) return <Empty title="The model is not complete yet" />;
  return (
    <div className="flex min-w-0 flex-col gap-4 p-5">
      <SessionBar model={model} />
      <Prompt
        chats={model.has_chat_template}
        action="Look through the layers"
        value={prompt}
        onChange={setPrompt}
        missing={missing}
        ready={ready}
        busy={busy}
        onGenerate={() => void look()}
        onStop={
          isOpen(shown)
            ? () =>
                void stopRequest(shown)
                  .then((one) => requests.add([one]))
                  .catch((thrown) => setError(Problem.from(thrown)))
            : null
        }
      />
      <label className="flex w-max items-center gap-2 text-xs text-muted">
        The last
        <input
          type="number"
          className="field w-20"
          min={1}
          max={256}
          value={last}
          onChange={(event) => {
            const next = Math.round(Number(event.target.value));
            if (next >= 1 && next <= 256) setLast(next);
          }}
        />
        tokens of the prompt
      </label>
      {error && <ErrorNote error={error} />}
      {requests.error && <ErrorNote error={requests.error} />}
      {shown?.error && <ErrorNote error={new Problem({ ...shown.error, detail: shown.error.message }, 0)} />}
      {shown?.lens ? (
        <LensGrid key={shown.id} lens={shown.lens} />
      ) : isOpen(shown) || incomplete ? (
        <div>
          <p className="mb-2 text-muted">
            {shown?.state === "waiting"
              ? "Waiting: the model is loaded first, if it is not yet."
              : "Looking…"}
          </p>
          <Skeleton className="h-64 w-full" />
        </div>
      ) : (
        !shown && (
          <p className="py-8 text-center text-muted">
            Each row is a layer, each column a token of the prompt: the cell is what the model would say next
            if that layer were its last.
          </p>
        )
      )}
      <RequestHistory all={requests.all} shown={shown?.id} onOpen={open} onGone={requests.remove} />
    </div>
  );
}
