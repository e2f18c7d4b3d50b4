import { Link } from "@tanstack/react-router";
import type { components } from "@/api/schema";
import { JobCell } from "@/jobs/JobState";
import { Bytes, type Column, format, Num, RelativeTime, tip } from "@/kit";

export type Cache = components["schemas"]["CacheOut"];

/** The columns of a list of caches. */
export const COLUMNS: Column<Cache>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(180px, 2fr)",
    sort: "name",
    cell: (cache) => (
      <Link to="/activations/$id" params={{ id: cache.id }} className="font-medium hover:underline">
        {cache.name}
      </Link>
    ),
  },
  {
    id: "state",
    header: "State",
    width: "minmax(130px, 0.8fr)",
    cell: (cache) => <JobCell job={cache.job} ready={cache.ready} />,
  },
  {
    id: "hooks",
    header: "Hook points",
    width: "minmax(160px, 1.4fr)",
    cell: (cache) => (
      <span {...tip(cache.hooks.slice(0, 40).join("\n"))}>
        <code>{cache.hooks[0]}</code>
        {cache.hooks.length > 1 && <span className="text-muted"> and {cache.hooks.length - 1} more</span>}
      </span>
    ),
  },
  {
    id: "tokens from",
    header: "Tokens of",
    width: "minmax(120px, 1fr)",
    cell: (cache) => `${cache.dataset_name} / ${cache.tokenization_name}`,
  },
  {
    id: "tokens",
    header: "Activations",
    width: "96px",
    align: "right",
    sort: "n_tokens",
    hint: "Tokens kept, at each hook point",
    cell: (cache) => <Num value={cache.n_tokens} />,
  },
  {
    id: "dtype",
    header: "Kept as",
    width: "82px",
    cell: (cache) => cache.dtype,
  },
  {
    id: "bytes",
    header: "On disk",
    width: "84px",
    align: "right",
    sort: "bytes",
    cell: (cache) => <Bytes value={cache.bytes} />,
  },
  {
    id: "created",
    header: "Made",
    width: "100px",
    sort: "created_at",
    descendingFirst: true,
    cell: (cache) => <RelativeTime at={cache.created_at} />,
  },
];

export const WITH_MODEL: Column<Cache>[] = [
  ...COLUMNS.slice(0, 2),
  { id: "model", header: "Model", width: "minmax(100px, 0.8fr)", cell: (cache) => cache.model_name },
  ...COLUMNS.slice(2),
];

/** "3 caches, 1.2 GB": what a deletion frees. */
export function freed(caches: Cache[]): string {
  const size = caches.reduce((sum, cache) => sum + (cache.bytes ?? 0), 0);
  return `${format.plural(caches.length, "activation cache")} deleted${size > 0 ? `, ${format.bytes(size)} freed` : ""}`;
}
