import { Link } from "@tanstack/react-router";
import type { components } from "@/api/schema";
import { Empty, ErrorNote, format, SkeletonLines } from "@/kit";
import { useConsequences } from "./Consequences";
import type { Dataset } from "./DatasetFacts";

type Item = components["schemas"]["TakenOut"];

/** What was made from a data set, by kind, and what deleting it would take. */
export function Uses({ dataset }: { dataset: Dataset }) {
  const taken = useConsequences([dataset.id]);
  if (taken.error)
    return (
      <div className="p-5">
        <ErrorNote error={taken.error} onRetry={() => void taken.refetch()} />
      </div>
    );
  if (!taken.data)
    return (
      <div className="p-5">
        <SkeletonLines lines={5} />
      </div>
    );
  const { items, count, bytes } = taken.data;
  const kinds = [...new Set(items.map((item) => item.kind))];
  if (count === 0)
    return (
      <Empty title="Nothing was made from it yet">
        Tokenizations, activation caches, trainings and what follows from them will be listed here. Deleting
        the data set now frees {format.bytes(bytes)}.
      </Empty>
    );
  return (
    <div className="flex max-w-3xl flex-col gap-5 p-5">
      <p className="text-muted">
        Deleting this data set would take {count === 1 ? "this" : `these ${format.figure(count)}`} with it and
        free {format.bytes(bytes)}.
      </p>
      {kinds.map((kind) => (
        <section key={kind}>
          <h2 className="mb-1 font-semibold">
            {kind.charAt(0).toUpperCase() + kind.slice(1)}
            <span className="ml-2 text-xs font-normal text-muted">
              {items.filter((item) => item.kind === kind).length}
            </span>
          </h2>
          <ul>
            {items
              .filter((item) => item.kind === kind)
              .map((item) => (
                <li key={item.id} className="flex h-7 items-center gap-3 border-b border-line/60">
                  <span className="min-w-0 flex-1 truncate">
                    <Named item={item} dataset={dataset} />
                  </span>
                  <span className="text-muted">{format.bytes(item.bytes)}</span>
                </li>
              ))}
          </ul>
        </section>
      ))}
      {count > items.length && <p className="text-muted">and {format.figure(count - items.length)} more</p>}
    </div>
  );
}

/** Pages of what can be made from a data set. */
const PAGES: Record<string, string> = {
  trainings: "/trainings/$id",
  sweeps: "/sweeps/$id",
  saes: "/saes/$id",
  activation_caches: "/activations/$id",
  extractions: "/features/$id",
};

function Named({ item, dataset }: { item: Item; dataset: Dataset }) {
  const to = PAGES[item.table];
  if (to)
    return (
      <Link to={to} params={{ id: item.id } as never} className="link">
        {item.name}
      </Link>
    );
  if (item.table === "tokenizations")
    return (
      <Link
        to="/datasets/$id"
        params={{ id: dataset.id }}
        search={{ tab: "tokenizations", tokenization: item.id } as never}
        className="link"
      >
        {item.name}
      </Link>
    );
  return item.name;
}
