import type { ReactNode } from "react";
import type { components } from "@/api/schema";
import { Bytes, Code, Facts, Num, RelativeTime, StateBadge, tip } from "@/kit";

export type Model = components["schemas"]["ModelOut"];

/** Where it came from, in words. */
export function sourceWords(source: Model["source"]): string {
  switch (source.kind) {
    case "hub":
      return `hub: ${source.repo}${source.revision === "main" ? "" : ` @ ${source.revision}`}`;
    case "registry":
      return `package: ${source.package}`;
    default:
      return `${source.kind}: ${source.path}`;
  }
}

export function ModelFacts({ model }: { model: Model }) {
  return (
    <Facts
      facts={[
        ["Id", <Code key="id">{model.id}</Code>],
        ["Source", sourceWords(model.source)],
        ["Architecture", model.architecture ?? "–"],
        ["Layers", <Num key="layers" value={model.n_layers} />],
        ["Residual width", <Num key="d" value={model.d_model} />],
        ["Vocabulary", <Num key="vocabulary" value={model.vocab_size} unit="tokens" />],
        ["Context", <Num key="context" value={model.context_length} unit="tokens" />],
        ["Parameters", <Num key="parameters" value={model.parameters} />],
        ["Stored as", model.dtype ?? "–"],
        ["On disk", <Bytes key="bytes" value={model.bytes} />],
        ["Chat template", model.ready ? (model.has_chat_template ? "yes" : "no") : "–"],
        [
          "Self-test",
          model.hook_report ? (
            <StateBadge
              key="test"
              state={model.hook_report.passed ? "succeeded" : "failed"}
              word={model.hook_report.passed ? "hook points passed" : "hook points did not pass"}
            />
          ) : (
            "–"
          ),
        ],
        ...(model.consent.code
          ? ([
              [
                "Trusted code",
                <span
                  key="code"
                  {...tip(
                    `Its own Python files run, as long as they are the ones with the digest ${model.consent.code}`,
                  )}
                >
                  <code>{model.consent.code.slice(0, 12)}…</code>
                </span>,
              ],
            ] as [string, ReactNode][])
          : []),
        ["Added", <RelativeTime key="added" at={model.created_at} />],
      ]}
    />
  );
}
