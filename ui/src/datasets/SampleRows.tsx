import { useInfiniteQuery } from "@tanstack/react-query";
import { ChevronLeft, ChevronRight } from "lucide-react";
import { useEffect, useMemo, useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import {
  Button,
  type Column,
  DataTable,
  Empty,
  ErrorNote,
  format,
  IconButton,
  type RowSource,
  usePages,
  useRows,
} from "@/kit";
import type { Dataset } from "./DatasetFacts";
import { Marked } from "./Marked";

export type Row = components["schemas"]["RowOut"];

export interface Search {
  q: string;
  mode: "words" | "text" | "regex";
  order: "row" | "rank";
  /** Whether the index answers. */
  indexed: boolean;
}

interface TableProps {
  dataset: Dataset;
  open: number | null;
  onPreview: (row: Row | null) => void;
  /** Lines of text in a row of the table. */
  lines: number;
}

/** Browsers draw nothing taller than some 33 million pixels: more rows are shown a block at a time. */
const BLOCK: Record<number, number> = { 1: 500_000, 3: 200_000, 8: 100_000 };

/** How much of a long text a line of the table is given. */
const CHARACTERS = 400;
/** How much of a text before its first match is shown, in a line. */
const BEFORE = 30;

export function AllRows({ dataset, open, onPreview, lines }: TableProps) {
  const rows = dataset.rows ?? 0;
  const size = BLOCK[lines] ?? 100_000;
  const [top, setTop] = useState(open ?? 0);
  useEffect(() => {
    if (open !== null) setTop(open);
  }, [open]);
  const block = Math.floor(top / size);
  const first = block * size;
  const end = Math.min(rows, first + size);
  const source = usePages<Row>(
    ["datasets", dataset.id, "rows", block, lines],
    async (offset, limit, signal) => {
      const page = await rowsAt(
        dataset,
        { offset: first + offset, limit, characters: CHARACTERS * lines },
        signal,
      );
      return { items: page.items, total: end - first };
    },
  );
  // The last page of a block ends with the block.
  const shown: RowSource<Row> = { ...source, total: source.total === undefined ? undefined : end - first };
  const columns = useMemo(() => columnsOf(dataset), [dataset]);
  return (
    <>
      <DataTable
        key={block}
        label="Rows"
        lines={lines}
        columns={columns}
        source={shown}
        id={(row) => String(row.index)}
        onPreview={onPreview}
        previewed={open === null ? null : String(open)}
        reveal={open !== null && open >= first && open < end ? open - first : null}
        empty={<Empty title="This data set has no rows" />}
      />
      {rows > size && (
        <div className="flex h-10 shrink-0 items-center gap-2 border-t border-line px-5 text-muted">
          <IconButton label="Rows before" disabled={block === 0} onClick={() => setTop(first - size)}>
            <ChevronLeft size={15} />
          </IconButton>
          Rows {format.exact(first)} to {format.exact(end - 1)} of {format.exact(rows)}
          <IconButton label="Rows after" disabled={end >= rows} onClick={() => setTop(end)}>
            <ChevronRight size={15} />
          </IconButton>
        </div>
      )}
    </>
  );
}

export function FoundRows({ dataset, open, onPreview, lines, search }: TableProps & { search: Search }) {
  const { q, mode, order } = search;
  const found = useInfiniteQuery({
    queryKey: ["datasets", dataset.id, "rows", "search", search, lines],
    queryFn: ({ pageParam, signal }) =>
      rowsAt(
        dataset,
        { q, mode, order, offset: pageParam, limit: 50, characters: CHARACTERS * lines },
        signal,
      ),
    initialPageParam: 0,
    getNextPageParam: (page) => page.next_offset ?? undefined,
    retry: false,
  });
  const rows = found.data?.pages.flatMap((page) => page.items);
  const [first] = found.data?.pages ?? [];
  const note = found.data?.pages.at(-1)?.note;
  const listed = useRows(rows);
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = found;
  // Scrolling to the end reads on, where the index makes that cheap.
  const source: RowSource<Row> = {
    ...listed,
    want: (_, last) => {
      if (
        rows &&
        last >= rows.length - 10 &&
        hasNextPage &&
        !isFetchingNextPage &&
        first?.searched === "index"
      )
        void fetchNextPage();
    },
  };
  const nothingYet = first?.searched === "scan" && rows?.length === 0 && !found.error;
  // Reading rows takes its time in pieces: it goes on by itself until something is found.
  useEffect(() => {
    if (nothingYet && hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [nothingYet, hasNextPage, isFetchingNextPage, fetchNextPage]);
  const columns = useMemo(() => columnsOf(dataset), [dataset]);
  const wrong = found.error && Problem.from(found.error);
  // What is half typed is often no query yet: that is said without alarm.
  if (wrong?.code === "query_invalid")
    return (
      <p role="status" className="px-5 py-3 text-warning">
        {wrong.detail} <span className="text-muted">{wrong.hint}</span>
      </p>
    );
  if (found.error)
    return (
      <div className="p-5">
        <ErrorNote error={found.error} />
      </div>
    );
  return (
    <>
      <DataTable
        label="Rows found"
        lines={lines}
        columns={columns}
        source={source}
        id={(row) => String(row.index)}
        onPreview={onPreview}
        previewed={open === null ? null : String(open)}
        empty={
          <p className="px-5 py-10 text-center text-muted">
            {hasNextPage ? `Nothing matches “${q}” so far.` : `No row matches “${q}”.`}
          </p>
        }
      />
      {rows && first && (
        <div
          role="status"
          className="flex min-h-10 shrink-0 items-center gap-3 border-t border-line px-5 py-1 text-muted"
        >
          <span className="shrink-0">{countWords(first, rows.length, hasNextPage)}</span>
          {note && <span className="min-w-0 text-xs">{note}</span>}
          {hasNextPage && (
            <Button busy={isFetchingNextPage} onClick={() => void fetchNextPage()}>
              {first.searched === "index" ? "Show more" : "Search further"}
            </Button>
          )}
        </div>
      )}
    </>
  );
}

function countWords(first: components["schemas"]["RowPage"], shown: number, more: boolean): string {
  if (first.total !== null) return `${format.plural(first.total, "row matches", "rows match")}`;
  if (first.at_least) return `Over ${format.figure(first.at_least)} rows match`;
  return `${format.plural(shown, "row")} found${more ? " so far" : ", all of them"}`;
}

function columnsOf(dataset: Dataset): Column<Row>[] {
  const text = dataset.text_column;
  const others = dataset.columns.filter((column) => column.name !== text).slice(0, 6);
  return [
    {
      id: "#",
      header: "#",
      width: "84px",
      align: "right",
      cell: (row) => <span className="text-muted">{format.exact(row.index)}</span>,
    },
    ...(text
      ? [
          {
            id: text,
            header: text,
            width: "minmax(320px, 4fr)",
            cell: (row: Row) => <TextCell row={row} column={text} />,
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

/** The text in one line, from a little before the first match on. */
function TextCell({ row, column }: { row: Row; column: string }) {
  const value = row.values[column];
  if (typeof value !== "string") return <Cell value={value} />;
  if (value === "") return <span className="text-faint">empty</span>;
  const from = wordBefore(value, Math.max(0, (row.marks?.[0]?.start ?? 0) - BEFORE));
  const before = from > 0 || (row.cut?.[column]?.start ?? 0) > 0;
  return (
    <>
      {before && "…"}
      <Marked text={value} marks={row.marks ?? []} from={from} />
    </>
  );
}

/** The next beginning of a word from here on, if there is one soon: a line does not begin in the middle of a word. */
function wordBefore(text: string, from: number): number {
  if (from === 0) return 0;
  const characters = [...text.slice(0, 2 * (from + BEFORE))];
  const space = characters.indexOf(" ", from - 1);
  return space >= 0 && space < from + BEFORE - 5 ? space + 1 : from;
}

function Cell({ value }: { value: unknown }) {
  if (value === null || value === undefined) return <span className="text-faint">null</span>;
  return <>{typeof value === "string" ? value.slice(0, CHARACTERS) : JSON.stringify(value)}</>;
}

type Query = { offset: number; limit: number; characters: number } & Partial<
  Pick<Search, "q" | "mode" | "order">
>;

const rowsAt = (dataset: Dataset, query: Query, signal: AbortSignal) =>
  body(
    api.GET("/api/v1/datasets/{dataset_id}/rows", {
      params: { path: { dataset_id: dataset.id }, query },
      signal,
    }),
  );
