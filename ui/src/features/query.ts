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

/** Where a feature stands in the list that one came from, and who is beside it there. */
export interface Place {
  at: number;
  total: number;
  /** It has left this place, by a new label say: who came after it stands there now. */
  moved: boolean;
  previous: { row: FeatureRow; at: number } | null;
  next: { row: FeatureRow; at: number } | null;
}

/**
 * A feature's place in the list. `hint`: where it was last; going on from there works also when it has moved since, so
 * that one can label one's way through a list that is sorted or filtered by labels. Null when its place is not known.
 */
export async function locate(
  id: string,
  query: FeatureQuery,
  index: number,
  hint: number | undefined,
  signal?: AbortSignal,
): Promise<Place | null> {
  const unfiltered = Object.keys(query).length === 1;
  const guess = hint ?? (query.sort === "index" && unfiltered ? index : undefined);
  const offset = guess === undefined ? 0 : Math.max(0, guess - 1);
  const page = await fetchFeatures(id, query, offset, guess === undefined ? 500 : 3, signal);
  const found = page.items.findIndex((row) => row.index === index);
  if (found < 0 && guess === undefined) return null;
  const at = found < 0 ? (guess as number) : offset + found;
  const beside = async (where: number) => {
    if (where < 0 || where >= page.total) return null;
    const row =
      page.items[where - offset] ?? (await fetchFeatures(id, query, where, 1, signal)).items[0] ?? null;
    return row && { row, at: where };
  };
  return {
    at,
    total: page.total,
    moved: found < 0,
    previous: await beside(at - 1),
    next: await beside(found < 0 ? at : at + 1),
  };
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
