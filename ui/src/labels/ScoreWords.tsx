import type { components } from "@/api/schema";
import { format, tip } from "@/kit";

type Detail = components["schemas"]["ScoreDetail"];

const METHODS: Record<Detail["method"], string> = {
  rule: "The label's words are looked for in held-out examples and in random contexts.",
  detection: "A model is asked which of held-out examples and random contexts the label fits.",
};

/** A label's score, with how it came about and what other labels reach on the same contexts in the tooltip. */
export function ScoreWords({ detail }: { detail: Detail }) {
  const lines = [
    METHODS[detail.method],
    `Balanced accuracy ${format.figure(detail.balanced_accuracy)} (0.5 is chance, 1 is perfect)`,
    `Recognised ${format.percent(detail.true_positive_rate)} of ${detail.n_positive} held-out examples`,
    `Left alone ${format.percent(detail.true_negative_rate)} of ${detail.n_negative} silent contexts`,
    `AUC ${format.figure(detail.auc)}`,
    detail.baseline === null || detail.baseline === undefined
      ? ""
      : `Baseline: ${format.plural(detail.baseline_labels ?? 0, "other label")} reached ${format.figure(detail.baseline)} on the same contexts`,
    ...Object.entries(detail.by_group ?? {}).map(([group, rate]) => `  ${group}: ${format.percent(rate)}`),
  ];
  return (
    <span
      // biome-ignore lint/a11y/noNoninteractiveTabindex: how it came about must be reachable by keyboard.
      tabIndex={0}
      className="rounded-[3px]"
      {...tip(lines.filter(Boolean).join("\n"), "(TPR + TNR) / 2")}
    >
      score {format.figure(detail.balanced_accuracy, 2)}
      {detail.baseline !== null && detail.baseline !== undefined && (
        <span className="text-faint"> (others {format.figure(detail.baseline, 2)})</span>
      )}
    </span>
  );
}
