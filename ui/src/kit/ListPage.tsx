import { type ReactNode, useState } from "react";
import { useRefetchOn } from "@/api/useChannel";
import { SearchField } from "./bits";
import { type Column, DataTable } from "./DataTable";
import { useKeys } from "./keys";
import { SidePanel } from "./Overlay";
import { PageHeader } from "./PageHeader";
import { usePages } from "./rows";
import { useUrlState } from "./url";

export interface ListQuery {
  q?: string;
  sort: string;
  limit: number;
  offset: number;
}

/**
 * The page of a list: header, search and filters, table, side panel. Search, order and what is looked at stand in the
 * address; the list follows the channel of its name.
 */
export function ListPage<T extends { id: string }>(props: {
  title: string;
  /** Name of the table: first part of the query key and the channel that tells of changes. */
  name: string;
  /** What else the query depends on (filters). */
  filterKey?: unknown[];
  fetch: (query: ListQuery, signal: AbortSignal) => Promise<{ items: T[]; total: number }>;
  columns: Column<T>[];
  defaultSort?: string;
  onOpen: (row: T) => void;
  preview: (row: T) => { title: ReactNode; actions?: ReactNode; content: ReactNode };
  actions?: ReactNode;
  filters?: ReactNode;
  empty: ReactNode;
  bulk?: (rows: T[], clear: () => void) => ReactNode;
}) {
  const { defaultSort = "-created_at", filterKey = [] } = props;
  const [q, setQ] = useUrlState("q", "");
  const [sort, setSort] = useUrlState("sort", defaultSort);
  const [open, setOpen] = useUrlState("open", "");
  const [looked, setLooked] = useState<T | null>(null);
  const source = usePages<T>([props.name, "list", q, sort, ...filterKey], (offset, limit, signal) =>
    props.fetch({ q: q || undefined, sort, offset, limit }, signal),
  );
  useRefetchOn(props.name, [props.name]);
  // The row as the list has it now; after a reload it may be further down, then the panel waits for it.
  let shown: T | null = null;
  for (let index = 0; index < (source.total ?? 0) && open; index++) {
    const row = source.row(index);
    if (row?.id === open) shown = row;
    if (shown || index > 5000) break;
  }
  if (!shown && looked?.id === open) shown = looked;
  const close = () => setOpen("");
  useKeys("Side panel", [{ keys: "escape", label: "close the side panel", run: close }], open !== "");
  const panel = shown ? props.preview(shown) : null;
  return (
    <>
      <PageHeader
        title={props.title}
        state={
          source.total !== undefined && source.total > 0 ? (
            <span className="text-muted">{source.total}</span>
          ) : undefined
        }
        actions={props.actions}
      />
      <div className="relative flex min-h-0 flex-1">
        <div className="flex min-w-0 flex-1 flex-col">
          <div className="flex h-11 shrink-0 items-center gap-2 px-5">
            <SearchField value={q} onChange={setQ} label={`Search ${props.title.toLowerCase()}`} />
            {props.filters}
          </div>
          <DataTable
            label={props.title}
            columns={props.columns}
            source={source}
            id={(row) => row.id}
            sort={sort}
            onSort={setSort}
            onOpen={props.onOpen}
            onPreview={(row) => {
              setLooked(row);
              setOpen(row?.id ?? "");
            }}
            previewed={open || null}
            bulk={props.bulk}
            empty={
              q ? (
                <p className="px-5 py-10 text-center text-muted">Nothing here contains “{q}”.</p>
              ) : (
                props.empty
              )
            }
          />
        </div>
        {panel && (
          <SidePanel title={panel.title} actions={panel.actions} onClose={close}>
            {panel.content}
          </SidePanel>
        )}
      </div>
    </>
  );
}
