import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import {
  Button,
  type Column,
  CopyButton,
  DataTable,
  Empty,
  ErrorNote,
  format,
  SearchField,
  SidePanel,
  SkeletonLines,
  useKeys,
  usePages,
  useRows,
  useUrlState,
} from "@/kit";
import type { Dataset } from "./DatasetFacts";

type Row = components["schemas"]["RowOut"];

/** The rows themselves: paged through, searched, one at a time in full at the side. */
export function Samples({ dataset }: { dataset: Dataset }) {
  const [q, setQ] = useUrlState("rows", "");
  const [open, setOpen] = useState<number | null>(null);
  useKeys(
    "Side panel",
    [{ keys: "escape", label: "close the side panel", run: () => setOpen(null) }],
    open !== null,
  );
  if (!dataset.ready) return <Empty title="The rows are shown once the data set is complete" />;
  const table = { dataset, open, onPreview: (row: Row | null) => setOpen(row?.index ?? null) };
  return (
    <div className="relative flex min-h-0 flex-1">
      <div className="flex min-w-0 flex-1 flex-col">
        <div className="flex h-11 shrink-0 items-center gap-3 px-5">
          <SearchField value={q} onChange={setQ} label="Search text" />
        </div>
        {q ? <FoundRows key={q} q={q} {...table} /> : <AllRows {...table} />}
      </div>
      {open !== null && <WholeRow dataset={dataset} index={open} onClose={() => setOpen(null)} />}
    </div>
  );
}

interface TableProps {
  dataset: Dataset;
  open: number | null;
  onPreview: (row: Row | null) => void;
}

function columnsOf(dataset: Dataset, q = ""): Column<Row>[] {
  const text = dataset.text_column;
  const others = dataset.columns.filter((column) => column.name !== text).slice(0, 6);
  return [
    {
      id: "#",
      header: "#",
      width: "80px",
      align: "right",
      cell: (row) => <span className="text-muted">{format.figure(row.index)}</span>,
    },
    ...(text
      ? [
          {
            id: text,
            header: text,
            width: "minmax(320px, 4fr)",
            cell: (row: Row) => <Found text={row.values[text]} q={q} />,
          },
        ]
      : []),
    ...others.map((column) => ({
      id: column.name,
      header: column.name,
      width: "minmax(100px, 1fr)",
      hint: column.type,
      cell: (row: Row) => <Cell value={row.values[column.name]} />,
    })),
  ];
}

/** The place of the first match, marked, with a little of what stands before it. */
function Found({ text, q }: { text: unknown; q: string }) {
  const at = q && typeof text === "string" ? text.toLowerCase().indexOf(q.toLowerCase()) : -1;
  if (at < 0 || typeof text !== "string") return <Cell value={text} />;
  const from = Math.max(0, at - 40);
  return (
    <>
      {from > 0 && "…"}
      {text.slice(from, at)}
      <mark className="rounded-[2px] bg-heat text-ink">{text.slice(at, at + q.length)}</mark>
      {text.slice(at + q.length, at + 400)}
    </>
  );
}

function Cell({ value }: { value: unknown }) {
  if (value === null || value === undefined) return <span className="text-faint">null</span>;
  return <>{typeof value === "string" ? value.slice(0, 400) : JSON.stringify(value)}</>;
}

const rowsAt = (
  dataset: Dataset,
  query: { offset: number; limit: number; q?: string },
  signal: AbortSignal,
) =>
  body(
    api.GET("/api/v1/datasets/{dataset_id}/rows", {
      params: { path: { dataset_id: dataset.id }, query: { ...query, characters: 400 } },
      signal,
    }),
  );

function AllRows({ dataset, open, onPreview }: TableProps) {
  const source = usePages<Row>(["datasets", dataset.id, "rows"], async (offset, limit, signal) => {
    const page = await rowsAt(dataset, { offset, limit }, signal);
    return { items: page.items, total: page.total ?? dataset.rows ?? 0 };
  });
  return (
    <DataTable
      label="Rows"
      columns={columnsOf(dataset)}
      source={source}
      id={(row) => String(row.index)}
      onPreview={onPreview}
      previewed={open === null ? null : String(open)}
      empty={<Empty title="This data set has no rows" />}
    />
  );
}

function FoundRows({ dataset, open, onPreview, q }: TableProps & { q: string }) {
  const search = useInfiniteQuery({
    queryKey: ["datasets", dataset.id, "rows", "search", q],
    queryFn: ({ pageParam, signal }) => rowsAt(dataset, { q, offset: pageParam, limit: 50 }, signal),
    initialPageParam: 0,
    getNextPageParam: (page) => page.next_offset ?? undefined,
  });
  const rows = search.data?.pages.flatMap((page) => page.items);
  const source = useRows(rows);
  if (search.error)
    return (
      <div className="p-5">
        <ErrorNote error={search.error} onRetry={() => void search.refetch()} />
      </div>
    );
  return (
    <>
      <DataTable
        label="Rows found"
        columns={columnsOf(dataset, q)}
        source={source}
        id={(row) => String(row.index)}
        onPreview={onPreview}
        previewed={open === null ? null : String(open)}
        empty={
          <p className="px-5 py-10 text-center text-muted">
            {search.hasNextPage ? `Nothing contains “${q}” so far.` : `No text contains “${q}”.`}
          </p>
        }
      />
      {rows && (
        <div className="flex h-10 shrink-0 items-center gap-3 border-t border-line px-5 text-muted">
          {format.plural(rows.length, "row")} found{search.hasNextPage ? " so far" : ", all of them"}
          {search.hasNextPage && (
            <Button busy={search.isFetchingNextPage} onClick={() => void search.fetchNextPage()}>
              Search further
            </Button>
          )}
        </div>
      )}
    </>
  );
}

function WholeRow({ dataset, index, onClose }: { dataset: Dataset; index: number; onClose: () => void }) {
  const row = useQuery({
    queryKey: ["datasets", dataset.id, "rows", "one", index],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/datasets/{dataset_id}/rows/{index}", {
          params: { path: { dataset_id: dataset.id, index } },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
  });
  const values = Object.entries(row.data?.values ?? {});
  values.sort(
    ([one], [other]) => Number(other === dataset.text_column) - Number(one === dataset.text_column),
  );
  return (
    <SidePanel title={`Row ${format.figure(index)}`} onClose={onClose}>
      {row.error ? (
        <ErrorNote error={row.error} />
      ) : row.data ? (
        <div className="flex flex-col gap-4">
          {values.map(([name, value]) => {
            const text = typeof value === "string" ? value : JSON.stringify(value, null, 1);
            return (
              <section key={name}>
                <h3 className="flex items-center gap-1 text-xs text-muted">
                  {name}
                  {text !== undefined && text !== "null" && <CopyButton text={text} label={`Copy ${name}`} />}
                </h3>
                <p className="break-words whitespace-pre-wrap">{text}</p>
              </section>
            );
          })}
        </div>
      ) : (
        <SkeletonLines />
      )}
    </SidePanel>
  );
}
