import type { components } from "@/api/schema";
import { format } from "@/kit";

type Training = components["schemas"]["TrainingOut"];
export type Expected = components["schemas"]["Expected"];

/** What a run came to, as a template of its settings states it; null before it has recorded both figures. */
export function expectedOf(training: Training): Expected | null {
  const { l0, fvu } = training.last_metrics ?? {};
  if (typeof l0 !== "number" || typeof fvu !== "number") return null;
  return {
    model: training.model_name,
    hook: training.hook,
    l0,
    fvu,
    source: `Measured on the last batch of “${training.name}”, after ${format.figure(training.tokens_trained)} tokens.`,
  };
}
