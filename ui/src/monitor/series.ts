import { useEffect, useMemo, useRef, useState } from "react";
import { useChannel } from "@/api/useChannel";

/** Readings over time, oldest first: `columns[name][i]` was measured at `at[i]` (seconds since 1970). */
export interface Series {
  at: number[];
  columns: Record<string, (number | null)[]>;
}

const KEEP_SECONDS = 3600;

/** `older` and `newer` as one, each moment once, nothing older than an hour. */
export function merge(older: Series, newer: Series, names: string[]): Series {
  const last = older.at.at(-1) ?? Number.NEGATIVE_INFINITY;
  const from = newer.at.findIndex((at) => at > last);
  const at = from < 0 ? older.at : [...older.at, ...newer.at.slice(from)];
  const first = at.findIndex((one) => one >= (at.at(-1) ?? 0) - KEEP_SECONDS);
  const columns = Object.fromEntries(
    names.map((name) => {
      // A column may be missing where it could not be measured: its place is kept.
      const filled = (from: Series, start: number) =>
        from.at.slice(start).map((_, index) => from.columns[name]?.[start + index] ?? null);
      const column = [...filled(older, 0), ...(from < 0 ? [] : filled(newer, from))];
      return [name, column.slice(Math.max(0, first))];
    }),
  );
  return { at: at.slice(Math.max(0, first)), columns };
}

/**
 * A system channel over the past hour: `seed` is what the server remembers, events (or, while the socket is down, the
 * polled state) continue it.
 */
export function useSeries(channel: string, names: string[], seed: Series | undefined): Series {
  const fields = useRef(names);
  const [live, setLive] = useState<Series>({ at: [], columns: {} });
  const add = (newer: Series) => setLive((older) => merge(older, newer, fields.current));
  useChannel(channel, {
    onSnapshot: (snapshot) => {
      const history = (snapshot as { history?: Record<string, (number | null)[]> } | null)?.history;
      if (history?.at) add({ at: history.at as number[], columns: history });
    },
    onEvent: (event) => {
      const reading = event.data as Record<string, number | null>;
      add({
        at: [reading.at as number],
        columns: Object.fromEntries(fields.current.map((name) => [name, [reading[name] ?? null]])),
      });
    },
  });
  useEffect(() => {
    fields.current = names;
  });
  return useMemo(() => {
    if (!seed) return live;
    const first = live.at[0] ?? Number.POSITIVE_INFINITY;
    const upTo = seed.at.findIndex((at) => at >= first);
    const before = upTo < 0 ? seed.at.length : upTo;
    const older: Series = {
      at: seed.at.slice(0, before),
      columns: Object.fromEntries(
        Object.entries(seed.columns).map(([name, column]) => [name, column.slice(0, before)]),
      ),
    };
    return merge(older, live, fields.current);
  }, [seed, live]);
}

/** The last `span` seconds of one column, as a curve. */
export function curve(series: Series, name: string, label: string, span: number, colour: number) {
  const since = (series.at.at(-1) ?? 0) - span;
  const from = Math.max(
    0,
    series.at.findIndex((at) => at >= since),
  );
  return {
    id: name,
    label,
    colour,
    x: series.at.slice(from),
    y: (series.columns[name] ?? []).slice(from),
  };
}
