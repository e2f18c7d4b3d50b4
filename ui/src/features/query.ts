import { useCallback, useMemo } from "react";
import { api, body, queryClient } from "@/api/client";
import type { components } from "@/api/schema";
import { useSearchParams } from "@/kit";

export type Extraction = components["schemas"]["ExtractionOut"];
export type FeatureRow = components["schemas"]["FeatureRow"];
export type Feature = components["schemas"]["FeaturePage"];

/** Which features are listed, in which order: what stands in the address of the table and of each feature's page. */
export interface FeatureQuery {
  q?: string;
  sort: string;
  label_state?: "labelled" | "unlabelled" | "person" | "machine";
  density?: "dead" | "rare" | "normal" | "dense";
  starred?: boolean;
  min_frequency?: number;
  max_frequency?: number;
  min_activation?: number;
}

export const DEFAULT_SORT = "-max_activation";
const FILTERS = [
  "label_state",
  "density",
  "starred",
  "min_frequency",
  "max_frequency",
  "min_activation",
] as const;

export function useFeatureQuery() {
  const [search, change] = useSearchParams();
  const shape = JSON.stringify([search.q, search.sort, ...FILTERS.map((name) => search[name])]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `shape` stands for what of the address is read.
  const query = useMemo((): FeatureQuery => {
    const found: Record<string, unknown> = { sort: String(search.sort ?? DEFAULT_SORT) };
    if (search.q !== undefined && search.q !== "") found.q = String(search.q);
    for (const name of FILTERS) if (search[name] !== undefined) found[name] = search[name];
    return found as unknown as FeatureQuery;
  }, [shape]);
  const set = useCallback(
    (next: Partial<FeatureQuery>) =>
      change(
        Object.fromEntries(
          Object.entries(next).map(([name, value]) => [name, value === "" ? undefined : value]),
        ),
      ),
    [change],
  );
  const filtered = FILTERS.some((name) => query[name] !== undefined);
  return {
    query,
    set,
    filtered,
    clear: () => change(Object.fromEntries(FILTERS.map((name) => [name, undefined]))),
  };
}

export const fetchFeatures = (
  id: string,
  query: FeatureQuery,
  offset: number,
  limit: number,
  signal?: AbortSignal,
) =>
  body(
    api.GET("/api/v1/extractions/{extraction_id}/features", {
      params: { path: { extraction_id: id }, query: { ...query, offset, limit } },
      signal,
    }),
  );

export const featureOptions = (id: string, index: number) => ({
  queryKey: ["features", id, "page", index],
  queryFn: ({ signal }: { signal: AbortSignal }) =>
    body(
      api.GET("/api/v1/extractions/{extraction_id}/features/{index}", {
        params: { path: { extraction_id: id, index } },
        signal,
      }),
    ),
});

/** Where a feature stands in the list that one came from, and who is beside it. */
export interface Place {
  at: number;
  total: number;
  previous: FeatureRow | null;
  next: FeatureRow | null;
}

/** Look for a feature around the place where it was last; null when the list no longer has it nearby. */
export async function locate(
  id: string,
  query: FeatureQuery,
  index: number,
  hint: number | undefined,
  signal?: AbortSignal,
): Promise<Place | null> {
  const unfiltered = Object.keys(query).length === 1;
  const guess = hint ?? (query.sort === "index" && unfiltered ? index : undefined);
  const windows: [offset: number, limit: number][] =
    guess === undefined
      ? [[0, 500]]
      : [
          [Math.max(0, guess - 1), 3],
          [Math.max(0, guess - 250), 500],
        ];
  for (const [offset, limit] of windows) {
    const page = await fetchFeatures(id, query, offset, limit, signal);
    const place = page.items.findIndex((row) => row.index === index);
    if (place < 0) continue;
    const at = offset + place;
    // At the edge of the window the neighbour is beyond it.
    const beyond = async (where: number) =>
      where < 0 || where >= page.total
        ? null
        : (page.items[where - offset] ?? (await fetchFeatures(id, query, where, 1, signal)).items[0] ?? null);
    return { at, total: page.total, previous: await beyond(at - 1), next: await beyond(at + 1) };
  }
  return null;
}

/** Show a change of a feature at once, wherever it is on the screen. */
export function patchRow(id: string, index: number, patch: Partial<FeatureRow>): void {
  queryClient.setQueriesData<{ items: FeatureRow[]; total: number }>(
    { queryKey: ["features", id, "list"] },
    (page) =>
      page && { ...page, items: page.items.map((row) => (row.index === index ? { ...row, ...patch } : row)) },
  );
  queryClient.setQueryData<Feature>(
    ["features", id, "page", index],
    (page) => page && { ...page, row: { ...page.row, ...patch } },
  );
}
