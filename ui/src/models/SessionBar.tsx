import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Play, PowerOff } from "lucide-react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { isActive, useJob } from "@/jobs/live";
import { Button, StateBadge } from "@/kit";
import type { Model } from "./ModelFacts";

const PHASES = {
  waiting: ["queued", "waiting for a free place"],
  loading: ["running", "loading the model"],
  ready: ["ready", "loaded"],
  writing: ["running", "answering"],
  ending: ["cancelling", "unloading"],
  ended: ["cancelled", "not loaded"],
  failed: ["failed", "failed to load"],
} as const;

/** Whether the model is loaded for questions; asking loads it, and it unloads itself when nobody asks. */
export function SessionBar({ model }: { model: Model }) {
  const client = useQueryClient();
  const at = { params: { path: { model_id: model.id } } };
  const session = useQuery({
    queryKey: ["models", model.id, "session"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/models/{model_id}/session", { ...at, signal })),
    enabled: model.ready,
  });
  const job = useJob(session.data?.job);
  const phase = !job
    ? "ended"
    : job.state === "failed"
      ? "failed"
      : !isActive(job)
        ? "ended"
        : job.state === "queued"
          ? "waiting"
          : job.state === "cancelling" || session.data?.phase === "ending"
            ? "ending"
            : job.stage === "Ready"
              ? "ready"
              : job.stage === "Writing"
                ? "writing"
                : "loading";
  const act = async (work: () => Promise<unknown>) => {
    try {
      await work();
      await client.invalidateQueries({ queryKey: ["models", model.id, "session"] });
    } catch (thrown) {
      const problem = Problem.from(thrown);
      toast.error(problem.detail, { description: problem.hint ?? undefined });
    }
  };
  const [state, words] = PHASES[phase];
  const loading = session.data?.loading;
  return (
    <div className="flex min-h-7 flex-wrap items-center gap-3">
      <StateBadge state={state} word={words} />
      {loading && phase !== "ended" && (
        <span className="text-xs text-muted">
          {loading.dtype}
          {loading.quantization !== "none" && `, ${loading.quantization}`}
        </span>
      )}
      {phase === "failed" && job?.error && (
        <span role="alert" className="text-failed">
          {job.error.message} {job.error.hint}
        </span>
      )}
      <span className="ml-auto" />
      {phase === "ended" || phase === "failed" ? (
        <Button
          look="quiet"
          icon={<Play size={14} />}
          disabled={!model.ready}
          hint="A question loads it too; loaded before, it is answered at once"
          onClick={() => void act(() => body(api.POST("/api/v1/models/{model_id}/session", at)))}
        >
          Load
        </Button>
      ) : (
        phase !== "ending" && (
          <Button
            look="quiet"
            icon={<PowerOff size={14} />}
            hint="Frees its memory. It unloads itself when nobody asks for a while"
            onClick={() => void act(() => body(api.POST("/api/v1/models/{model_id}/session/end", at)))}
          >
            Unload
          </Button>
        )
      )}
    </div>
  );
}
