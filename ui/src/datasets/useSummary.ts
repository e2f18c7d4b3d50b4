import { useQuery } from "@tanstack/react-query";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";

export type Summary = components["schemas"]["DatasetSummary"];

/** All data sets at a glance: how many, what they take on the disk, what they can be filtered by. */
export function useSummary(): Summary | undefined {
  return useQuery({
    queryKey: ["datasets", "summary"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/datasets/summary", { signal })),
  }).data;
}
