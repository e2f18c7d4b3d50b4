import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import type { MetricInfo } from "@/kit";
import { type JsonSchema, resolver } from "@/kit/jsonSchema";

export type Training = components["schemas"]["TrainingOut"];
export type TrainingDetail = components["schemas"]["TrainingDetail"];

/** The schema of the training form, and what each recorded metric means, from the server. */
export function useTrainingForm() {
  const { data } = useQuery({
    queryKey: ["training form"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/trainings/form", { signal })),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return useMemo(
    () =>
      data && {
        schema: data.form as JsonSchema,
        resolve: resolver(data.form),
        metrics: data.metrics as Record<string, Omit<MetricInfo, "better"> | undefined>,
      },
    [data],
  );
}

const RATE: MetricInfo = {
  title: "Speed",
  unit: "tokens/s",
  formula: "Δ tokens / Δ seconds",
  description: "Tokens trained on per second, between two recorded points.",
};

/** What a recorded column means; columns without a definition are shown under their own name. */
export function metricInfo(
  metrics: Record<string, MetricInfo | undefined> | undefined,
  name: string,
): MetricInfo {
  if (name === "tokens_per_second") return RATE;
  return metrics?.[name] ?? { title: name.replaceAll("_", " "), unit: "", formula: "", description: "" };
}
