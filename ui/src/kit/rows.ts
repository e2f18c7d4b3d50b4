import { hashKey, type QueryKey, useQueries } from "@tanstack/react-query";
import { useCallback, useMemo, useRef, useState } from "react";
import { Problem } from "@/api/problem";

/** Rows by position, some of them not here yet: what a table of any length scrolls over. */
export interface RowSource<T> {
  /** Undefined until the first answer. */
  total: number | undefined;
  row(index: number): T | undefined;
  /** The table shows these positions now. */
  want(first: number, last: number): void;
  loading: boolean;
  error: Problem | null;
  retry(): void;
}

/** Rows that are all at hand. */
export function useRows<T>(rows: T[] | undefined): RowSource<T> {
  return useMemo(
    () => ({
      total: rows?.length,
      row: (index) => rows?.[index],
      want: () => {},
      loading: rows === undefined,
      error: null,
      retry: () => {},
    }),
    [rows],
  );
}

interface Seen<T> {
  hash: string;
  total: number | undefined;
  pages: Map<number, T[]>;
}

/**
 * Rows of a paged route, fetched as they come into view: `fetchPage(offset, limit)`. Sorting and filtering are the
 * server's, so they belong into `key`. While a new order is fetched the old rows stay.
 */
export function usePages<T>(
  key: QueryKey,
  fetchPage: (offset: number, limit: number, signal: AbortSignal) => Promise<{ items: T[]; total: number }>,
  size = 100,
): RowSource<T> {
  const [range, setRange] = useState({ first: 0, last: 0 });
  const pages: number[] = [];
  for (let page = range.first; page <= range.last; page++) pages.push(page);
  const results = useQueries({
    queries: pages.map((page) => ({
      queryKey: [...key, { page, size }],
      queryFn: ({ signal }: { signal: AbortSignal }) => fetchPage(page * size, size, signal),
    })),
  });
  const hash = hashKey(key);
  const seen = useRef<Seen<T>>({ hash, total: undefined, pages: new Map() });
  const waiting = useRef<ReturnType<typeof setTimeout>>(undefined);
  const want = useCallback(
    (first: number, last: number) => {
      const next = { first: Math.floor(first / size), last: Math.floor(Math.max(first, last) / size) };
      const set = () => setRange((now) => (now.first === next.first && now.last === next.last ? now : next));
      clearTimeout(waiting.current);
      // Who flies past a thousand pages does not want them all: only where the scrolling rests is fetched.
      if (seen.current.pages.has(next.first) && seen.current.pages.has(next.last)) set();
      else waiting.current = setTimeout(set, 60);
    },
    [size],
  );
  // What was seen last, so that neither a new order nor a jump to a far page empties the table meanwhile.
  for (const [index, result] of results.entries()) {
    if (!result.data) continue;
    if (seen.current.hash !== hash) seen.current = { hash, total: undefined, pages: new Map() };
    seen.current.pages.set(range.first + index, result.data.items);
  }
  const newest = results.reduce((one, other) => (other.dataUpdatedAt > one.dataUpdatedAt ? other : one));
  if (newest.data) seen.current.total = newest.data.total;
  const failed = results.find((result) => result.error);
  return {
    total: seen.current.total,
    row: (index) => seen.current.pages.get(Math.floor(index / size))?.[index % size],
    want,
    loading: results.some((result) => result.isPending),
    error: failed ? Problem.from(failed.error) : null,
    retry: () => {
      for (const result of results) if (result.error) void result.refetch();
    },
  };
}
