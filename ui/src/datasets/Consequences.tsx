import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { ErrorNote, format, SkeletonLines } from "@/kit";

export type Taken = components["schemas"]["ConsequencesOut"];

/** What deleting these data sets would take with it. */
export function useConsequences(ids: string[], enabled = true): UseQueryResult<Taken> {
  return useQuery({
    queryKey: ["datasets", "consequences", ...ids],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/datasets/consequences", { params: { query: { id: ids } }, signal })),
    enabled: enabled && ids.length > 0,
    staleTime: 0,
  });
}

/** In words: the space that is freed, and what goes besides. */
export function Consequences({ taken }: { taken: UseQueryResult<Taken> }) {
  if (taken.error) return <ErrorNote error={taken.error} onRetry={() => void taken.refetch()} />;
  if (!taken.data) return <SkeletonLines lines={2} />;
  const { items, count, bytes } = taken.data;
  return (
    <div>
      <p>{format.bytes(bytes)} are removed from the disk. This cannot be undone.</p>
      {count > 0 && (
        <>
          <p className="mt-3 font-medium">With it goes what was made from it:</p>
          <ul className="mt-1 max-h-48 overflow-y-auto">
            {items.map((item) => (
              <li key={`${item.table} ${item.id}`} className="flex gap-2 border-b border-line/60 py-0.5">
                <span className="w-32 shrink-0 text-muted">{item.kind}</span>
                <span className="min-w-0 flex-1 truncate">{item.name}</span>
                <span className="text-muted">{format.bytes(item.bytes)}</span>
              </li>
            ))}
            {count > items.length && <li className="py-0.5 text-muted">and {count - items.length} more</li>}
          </ul>
        </>
      )}
    </div>
  );
}
