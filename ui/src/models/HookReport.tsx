import { useQueryClient } from "@tanstack/react-query";
import { ShieldCheck } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { isActive, useActiveJobs } from "@/jobs/live";
import { Button, ErrorNote, format, ProgressBar, StateBadge, tip } from "@/kit";
import { HOOK_MEANING } from "./hookKinds";
import type { Model } from "./ModelFacts";

type Verdict = components["schemas"]["KindVerdictOut"];

const WORDS: Record<Verdict["verdict"], [state: string, word: string]> = {
  exact: ["succeeded", "bit for bit"],
  close: ["succeeded", "within rounding"],
  wrong: ["failed", "differs"],
  absent: ["cancelled", "not in this model"],
};

/** What the self-test found of each kind of hook point, and a button to run it again. */
export function HookReport({ model }: { model: Model }) {
  const client = useQueryClient();
  const [error, setError] = useState<Problem | null>(null);
  const running = useActiveJobs().find((job) => job.subject === `models/${model.id}/verify`);
  const report = model.hook_report;
  const test = async () => {
    setError(null);
    try {
      await body(api.POST("/api/v1/models/{model_id}/verify", { params: { path: { model_id: model.id } } }));
      await client.invalidateQueries({ queryKey: ["models"] });
    } catch (thrown) {
      setError(Problem.from(thrown));
    }
  };
  return (
    <section aria-label="Self-test" className="border-b border-line px-5 pt-4 pb-3">
      <div className="flex min-h-7 flex-wrap items-center gap-3">
        <h2 className="font-semibold">Self-test</h2>
        {report && (
          <>
            <StateBadge
              state={report.passed ? "succeeded" : "failed"}
              word={report.passed ? "passed" : "did not pass"}
            />
            <span className="text-xs text-muted">
              {format.plural(report.tokens, "random token")}
              {report.batch_tokens > 0 && ` and a batch of ${format.figure(report.batch_tokens)}`},{" "}
              {report.dtype}
              {report.quantization !== "none" && `, ${report.quantization}`} on {report.device},{" "}
              {format.duration(report.seconds)}
            </span>
          </>
        )}
        {!report && <span className="text-muted">Not run yet</span>}
        <span className="ml-auto" />
        {running && isActive(running) ? (
          running.state === "queued" ? (
            <StateBadge state="queued" word="waiting for a free place" />
          ) : (
            <div className="w-64">
              <ProgressBar progress={running} label="Self-test" />
            </div>
          )
        ) : (
          <Button
            icon={<ShieldCheck size={14} />}
            disabled={!model.ready}
            hint="Loads the model as its settings say and compares what is read at every hook point with what it computes without us"
            onClick={() => void test()}
          >
            Test again
          </Button>
        )}
      </div>
      {error && <ErrorNote error={error} />}
      {report && (
        <table className="mt-2 w-full border-collapse">
          <thead className="text-left text-xs text-muted">
            <tr>
              <th className="h-6 pr-4 font-normal">Kind</th>
              <th className="pr-4 font-normal">Verdict</th>
              <th className="pr-4 text-right font-normal">Layers</th>
              <th
                className="pr-4 text-right font-normal"
                {...tip("How far it is from what it must equal, at the worst token: ‖a − b‖ / ‖b‖")}
              >
                Gap
              </th>
              <th
                className="pr-4 text-right font-normal"
                {...tip(
                  "A batch as large as a harvest's against the same tokens in small ones, measured alike: large batches use weights laid out anew for the CPU",
                )}
              >
                In a batch
              </th>
              <th
                className="pr-4 font-normal"
                {...tip(
                  "Whether handing back what was read leaves the logits as they are, bit for bit, and zeros change them",
                )}
              >
                Writes
              </th>
              <th className="font-normal">What it was held against</th>
            </tr>
          </thead>
          <tbody>
            {report.verdicts.map((one) => (
              <Line key={one.kind} one={one} />
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function Line({ one }: { one: Verdict }) {
  const [state, word] = WORDS[one.verdict];
  const absent = one.verdict === "absent";
  return (
    <tr className="h-[26px] border-t border-line">
      <td className="pr-4">
        <code {...tip(HOOK_MEANING[one.kind])}>{one.kind}</code>
      </td>
      <td className="pr-4">
        <StateBadge state={one.shape ? state : "failed"} word={one.shape ? word : "another shape"} />
      </td>
      <td className="pr-4 text-right">{absent ? "–" : one.layers}</td>
      <td className="pr-4 text-right">{one.gap === null ? "–" : format.figure(one.gap)}</td>
      <td className="pr-4 text-right">
        {one.batch_gap === null ? (
          <span {...tip(absent ? undefined : "Large batches are computed as small ones are")}>–</span>
        ) : (
          format.figure(one.batch_gap)
        )}
      </td>
      <td className="pr-4">
        {one.writes === null ? "–" : one.writes ? "yes" : <span className="text-failed">no</span>}
      </td>
      <td className="text-muted">{absent ? "" : one.check}</td>
    </tr>
  );
}
