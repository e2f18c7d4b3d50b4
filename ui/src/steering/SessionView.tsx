import { useQueryClient } from "@tanstack/react-query";
import { BookmarkPlus, Play, PowerOff } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { isActive, useJob } from "@/jobs/live";
import { Button, ErrorNote, PageHeader, StateBadge, useKeys, useSearchParams } from "@/kit";
import { missingIn, Prompt, type PromptValue, promptFields, startPrompt } from "@/models/Prompt";
import { SaveTemplate } from "@/templates/SaveTemplate";
import { StartFrom, type Template } from "@/templates/StartFrom";
import { useChosen } from "./chosen";
import { FeatureStrengths } from "./FeatureStrengths";
import type { Generation } from "./generations";
import { History } from "./History";
import type { Session } from "./OpenSession";
import { Outputs } from "./Outputs";
import { Sampling, type SamplingValue, startSampling } from "./Sampling";
import { useGenerations } from "./useGenerations";

type Wanted = components["schemas"]["GenerateRequest"];

const CRUMBS = [{ label: "Steering", to: "/steering", search: {} }];

const PHASES = {
  waiting: ["queued", "waiting for a free place"],
  loading: ["running", "loading model and SAEs"],
  ready: ["ready", "warm"],
  writing: ["running", "writing"],
  ending: ["cancelling", "ending"],
  ended: ["cancelled", "ended"],
  failed: ["failed", "failed"],
} as const;

/** What the session is doing, from its job as it is now rather than as it was fetched. */
function usePhase(session: Session): keyof typeof PHASES {
  const job = useJob(session.job);
  if (!job) return "ended";
  if (job.state === "failed") return "failed";
  if (!isActive(job)) return "ended";
  if (job.state === "queued") return "waiting";
  if (job.state === "cancelling" || session.phase === "ending") return "ending";
  return job.stage === "Ready" ? "ready" : job.stage === "Writing" ? "writing" : "loading";
}

export function SessionView({ session }: { session: Session }) {
  const client = useQueryClient();
  const job = useJob(session.job);
  const phase = usePhase(session);
  const [search, change] = useSearchParams();
  const [chosen, setChosen] = useChosen();
  const [prompt, setPrompt] = useState<PromptValue>(() => startPrompt());
  const [sampling, setSampling] = useState<SamplingValue>(startSampling);
  const [template, setTemplate] = useState<string | null>(null);
  const [saving, setSaving] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Problem | null>(null);
  const generations = useGenerations(session.id);
  const at = { params: { path: { session_id: session.id } } };
  const takes = phase !== "ended" && phase !== "failed" && phase !== "ending";
  const shownId = typeof search.text === "string" ? search.text : generations.all[0]?.id;
  const shown = shownId ? generations.known.get(shownId) : undefined;
  const loaded = session.saes.map((sae) => sae.id);
  const usable = chosen.filter((one) => loaded.includes(one.sae));

  // Opened again, a text brings its request along.
  const again = (one: Generation) => {
    const { request } = one;
    setPrompt(startPrompt(request));
    setSampling(startSampling(request));
    change({ text: one.id });
    setChosen(
      request.features.map((feature) => ({
        sae: feature.sae_id,
        index: feature.index,
        strength: feature.strength,
        mode: feature.mode ?? "add",
      })),
    );
  };
  // Who comes back to a session finds what was asked last; what the address names wins.
  const untouched = prompt.text === "" && prompt.messages.every((one) => one.content === "");
  const first = untouched ? shown : undefined;
  const begun = useRef(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, when the first text is there.
  useEffect(() => {
    if (!first || begun.current) return;
    begun.current = true;
    if (chosen.length === 0) again(first);
    else {
      setPrompt(startPrompt(first.request));
      setSampling(startSampling(first.request));
    }
  }, [first?.id]);

  const begin = (chosen: Template | null) => {
    setTemplate(chosen?.id ?? null);
    if (!chosen) return;
    begun.current = true;
    const kept = chosen.body as unknown as Wanted;
    setPrompt(startPrompt(kept));
    setSampling(startSampling(kept));
  };
  const act = async (work: () => Promise<unknown>) => {
    try {
      await work();
      await client.invalidateQueries({ queryKey: ["steering_sessions"] });
    } catch (thrown) {
      const problem = Problem.from(thrown);
      toast.error(problem.detail, { description: problem.hint ?? undefined });
    }
  };
  const generate = async () => {
    begun.current = true;
    setBusy(true);
    setError(null);
    try {
      const wanted = {
        ...sampling,
        ...promptFields(prompt),
        template_id: template,
        features: usable.map((one) => ({
          sae_id: one.sae,
          index: one.index,
          mode: one.mode,
          strength: one.strength,
          unit: session.saes.find((sae) => sae.id === one.sae)?.extraction_id ? "max" : "raw",
        })),
      } as unknown as Wanted;
      const made = await body(
        api.POST("/api/v1/steering/sessions/{session_id}/generate", { ...at, body: wanted }),
      );
      generations.add([made]);
      setTemplate(null); // what is written next was begun with this text
      change({ text: made.id, template: undefined });
    } catch (thrown) {
      setError(Problem.from(thrown));
    } finally {
      setBusy(false);
    }
  };
  const writing = shown && (shown.state === "waiting" || shown.state === "writing") ? shown : null;
  const stop = () =>
    writing &&
    void act(async () =>
      generations.add([
        await body(
          api.POST("/api/v1/steering/generations/{generation_id}/cancel", {
            params: { path: { generation_id: writing.id } },
          }),
        ),
      ]),
    );
  const missing = usable.length === 0 ? "Choose a feature first" : missingIn(prompt);
  const ready = takes && missing === null && !busy;
  useKeys("Steering", [{ keys: "ctrl+enter", label: "generate", run: () => ready && void generate() }]);
  const [state, words] = PHASES[phase];
  return (
    <>
      <PageHeader
        crumbs={CRUMBS}
        title={session.name}
        state={<StateBadge state={state} word={words} />}
        actions={
          takes ? (
            <Button
              icon={<PowerOff size={14} />}
              hint="Frees its memory; what it wrote stays"
              onClick={() => void act(() => body(api.POST("/api/v1/steering/sessions/{session_id}/end", at)))}
            >
              End session
            </Button>
          ) : (
            phase !== "ending" && (
              <Button
                look="primary"
                icon={<Play size={14} />}
                onClick={() =>
                  void act(() => body(api.POST("/api/v1/steering/sessions/{session_id}/resume", at)))
                }
              >
                Open again
              </Button>
            )
          )
        }
      />
      {phase === "failed" && job?.error && (
        <div role="alert" className="border-b border-line bg-failed-wash px-5 py-2">
          {job.error.message} <span className="text-muted">{job.error.hint}</span>
        </div>
      )}
      <div className="flex min-h-0 flex-1 flex-col overflow-y-auto lg:flex-row lg:overflow-hidden">
        <div className="flex shrink-0 flex-col gap-6 border-line p-5 lg:w-[332px] lg:overflow-y-auto lg:border-r 2xl:w-[400px]">
          <FeatureStrengths
            session={session}
            chosen={usable}
            onChange={setChosen}
            errors={error?.fields ?? {}}
          />
          <Sampling value={sampling} onChange={setSampling} errors={error?.fields ?? {}} />
          <div className="flex flex-col gap-2">
            <StartFrom
              kind="steering"
              first={typeof search.template === "string" ? search.template : undefined}
              value={template}
              onChange={begin}
            />
            <Button
              className="self-start"
              icon={<BookmarkPlus size={14} />}
              disabled={missingIn(prompt) !== null}
              hint="Prompt and sampling; the features stay with their SAE"
              onClick={() => setSaving(true)}
            >
              Save as template
            </Button>
            <SaveTemplate
              open={saving}
              onClose={() => setSaving(false)}
              kind="steering"
              settings={() => ({ ...sampling, ...promptFields(prompt) })}
            />
          </div>
        </div>
        <div className="flex min-w-0 flex-1 flex-col gap-5 p-5 lg:overflow-y-auto">
          <Prompt
            chats={session.has_chat_template}
            value={prompt}
            onChange={setPrompt}
            missing={
              takes
                ? missing
                : phase === "ending"
                  ? "The session is ending"
                  : "The session has ended: open it again"
            }
            ready={ready}
            busy={busy}
            onGenerate={() => void generate()}
            onStop={writing ? stop : null}
          />
          {error && <ErrorNote error={error} />}
          <Outputs
            generation={shown}
            phase={phase}
            pending={generations.pending}
            onTake={
              session.has_chat_template && shown?.request.messages
                ? (text) =>
                    setPrompt({
                      ...prompt,
                      chat: true,
                      messages: [
                        ...(shown.request.messages ?? []),
                        { role: "assistant", content: text },
                        { role: "user", content: "" },
                      ],
                    })
                : null
            }
          />
          {generations.error && (
            <ErrorNote error={generations.error} onRetry={() => void generations.refetch()} />
          )}
          <History all={generations.all} shown={shown?.id} onOpen={again} onGone={generations.remove} />
        </div>
      </div>
    </>
  );
}
