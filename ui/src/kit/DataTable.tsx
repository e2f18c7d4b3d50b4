import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import {
  type CSSProperties,
  type KeyboardEvent,
  type ReactNode,
  useEffect,
  useId,
  useRef,
  useState,
} from "react";
import { useDensity } from "@/shell/preferences";
import { useKeys } from "./keys";
import type { RowSource } from "./rows";
import { ErrorNote, Skeleton } from "./states";
import { tip } from "./Tip";

export interface Column<T> {
  id: string;
  header: string;
  cell: (row: T, index: number) => ReactNode;
  /** CSS grid width: "120px", "minmax(160px, 2fr)". */
  width?: string;
  align?: "left" | "right";
  /** The server's name for this order; none: not sortable. */
  sort?: string;
  /** Which way the first click sorts: figures from the top, names from the start. */
  descendingFirst?: boolean;
  /** What the column means. */
  hint?: string;
  /** It stays in view while the table is scrolled sideways, where there is room. */
  fixed?: boolean;
}

/** On the row's own ground, so that nothing shines through. */
const FIXED = "md:sticky md:left-0 md:z-[1] md:bg-inherit";

export interface DataTableProps<T> {
  label: string;
  columns: Column<T>[];
  source: RowSource<T>;
  id: (row: T) => string;
  /** "-created_at": descending by that key. */
  sort?: string;
  onSort?: (sort: string) => void;
  /** Enter or double click. */
  onOpen?: (row: T) => void;
  /** Click or space: what the side panel shows; null when it is to close. */
  onPreview?: (row: T | null) => void;
  previewed?: string | null;
  /** Lines of text that a row has room for; more than one wraps its cells. Default: 1. */
  lines?: number;
  /** The position that is to be in view: when it changes, the table goes there. */
  reveal?: number | null;
  /** Given a selection, rows can be ticked (`x`) and this bar appears. */
  bulk?: (rows: T[], clear: () => void) => ReactNode;
  empty: ReactNode;
}

// A grid cannot be a <table> when most of its rows do not exist, and it holds the focus for them
// (aria-activedescendant) and handles their keys: biome.json switches the rules off that expect otherwise here.

/**
 * A table of any length: only the rows in view exist, the header stays, one tab stop with arrows, Home/End, Enter,
 * space and j/k/x from anywhere on the page.
 */
export function DataTable<T>(props: DataTableProps<T>) {
  const { columns, source, id, sort, onSort, onOpen, onPreview, bulk } = props;
  const density = useDensity();
  const { lines = 1 } = props;
  const base = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState(-1);
  const [ticked, setTicked] = useState<ReadonlyMap<string, T>>(new Map());
  const total = source.total ?? 0;
  const virtual = useVirtualizer({
    count: total,
    getScrollElement: () => scroller.current,
    estimateSize: () => (density === "compact" ? 8 : 16) + 20 * lines,
    overscan: 12,
    // The header is inside the scrolled element.
    scrollPaddingStart: 28,
  });
  const items = virtual.getVirtualItems();
  const first = items[0]?.index ?? 0;
  const last = items.at(-1)?.index ?? 0;
  const { want } = source;
  useEffect(() => want(first, last), [want, first, last]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: measured anew when the heights change.
  useEffect(() => virtual.measure(), [density, lines]);
  const { reveal = null } = props;
  const ready = total > 0;
  // biome-ignore lint/correctness/useExhaustiveDependencies: it is the wish that moves the table, not the scrolling.
  useEffect(() => {
    if (reveal === null || !ready) return;
    setActive(reveal);
    if (reveal < first || reveal > last) virtual.scrollToIndex(reveal, { align: "center" });
  }, [reveal, ready]);

  const move = (to: number) => {
    if (total === 0) return;
    const next = Math.max(0, Math.min(total - 1, to));
    setActive(next);
    virtual.scrollToIndex(next);
    const row = source.row(next);
    // With the panel open it follows, so that a hundred things can be looked through.
    if (row && props.previewed) onPreview?.(row);
  };
  const preview = (row: T | undefined) => {
    if (row && onPreview) onPreview(props.previewed === id(row) ? null : row);
    else if (row) onOpen?.(row);
  };
  const tick = (row: T | undefined) => {
    if (!row || !bulk) return;
    const next = new Map(ticked);
    if (!next.delete(id(row))) next.set(id(row), row);
    setTicked(next);
  };
  const current = () => (active >= 0 ? source.row(active) : undefined);
  useKeys("Table", [
    { keys: "j", label: "next row", run: () => move(active + 1) },
    { keys: "k", label: "previous row", run: () => move(active - 1) },
    ...(bulk ? [{ keys: "x", label: "select row", run: () => tick(current()) }] : []),
    ...(onPreview
      ? [{ keys: "space", label: "look at row in the side panel", run: () => preview(current()) }]
      : []),
    ...(onOpen
      ? [
          {
            keys: "o",
            label: "open row (also Enter)",
            run: () => {
              const row = current();
              if (row) onOpen(row);
            },
          },
        ]
      : []),
  ]);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== event.currentTarget) return;
    const page = Math.max(1, items.length - 26);
    const steps: Record<string, number> = {
      ArrowDown: active + 1,
      ArrowUp: active - 1,
      PageDown: active + page,
      PageUp: active - page,
      Home: 0,
      End: total - 1,
    };
    const row = current();
    if (event.key in steps) move(steps[event.key] as number);
    else if (event.key === "Enter" && row) onOpen?.(row);
    else return;
    event.preventDefault();
  };

  const template = [bulk ? "28px" : "", ...columns.map((column) => column.width ?? "minmax(90px, 1fr)")].join(
    " ",
  );
  // Narrower than this, the table scrolls sideways rather than squeezing its columns.
  const least = columns.reduce(
    (sum, column) => sum + Number.parseInt(/\d+/.exec(column.width ?? "90")?.[0] ?? "90", 10),
    bulk ? 52 : 24,
  );
  const sorted = sort?.replace(/^-/, "");
  const descending = sort?.startsWith("-");
  const selected = [...ticked.values()];

  return (
    <div className="relative flex min-h-0 min-w-0 flex-1 flex-col">
      {source.error && (
        <div className="p-3">
          <ErrorNote error={source.error} onRetry={source.retry} />
        </div>
      )}
      <div
        ref={scroller}
        role="grid"
        aria-label={props.label}
        aria-rowcount={source.total ?? -1}
        aria-colcount={columns.length}
        aria-multiselectable={bulk ? true : undefined}
        aria-activedescendant={
          active >= 0 && active >= first && active <= last ? `${base}-${active}` : undefined
        }
        aria-busy={source.loading}
        tabIndex={0}
        onKeyDown={onKeyDown}
        onFocus={(event) => {
          if (event.target === event.currentTarget && active < 0 && total > 0) setActive(0);
        }}
        className={`min-h-0 overflow-auto focus-visible:outline-none ${total > 0 ? "flex-1" : "shrink-0"}`}
      >
        <div style={{ minWidth: least }}>
          <div
            role="row"
            aria-rowindex={1}
            className="sticky top-0 z-10 grid h-7 items-center border-b border-line bg-canvas px-3 text-xs text-muted"
            style={{ gridTemplateColumns: template }}
          >
            {bulk && (
              <span role="columnheader">
                <span className="sr-only">Selected</span>
              </span>
            )}
            {columns.map((column) => {
              const on = sorted !== undefined && sorted === column.sort;
              const right = column.align === "right" ? "justify-end text-right" : "";
              return (
                <div
                  key={column.id}
                  role="columnheader"
                  aria-sort={on ? (descending ? "descending" : "ascending") : undefined}
                  className={`flex min-w-0 px-2 ${right} ${column.fixed ? FIXED : ""}`}
                  {...tip(column.hint)}
                >
                  {column.sort && onSort ? (
                    <button
                      type="button"
                      className={`flex min-w-0 items-center gap-1 rounded-[3px] hover:text-ink ${on ? "font-medium text-ink" : ""}`}
                      onClick={() => {
                        const down = on ? !descending : (column.descendingFirst ?? column.align === "right");
                        onSort(`${down ? "-" : ""}${column.sort}`);
                        scroller.current?.scrollTo({ top: 0 });
                      }}
                    >
                      <span className="truncate">{column.header}</span>
                      {on && (descending ? <ArrowDown size={12} /> : <ArrowUp size={12} />)}
                    </button>
                  ) : (
                    <span className="truncate">{column.header}</span>
                  )}
                </div>
              );
            })}
          </div>
          <div className="relative" style={{ height: virtual.getTotalSize() }}>
            {items.map((item) => {
              const row = source.row(item.index);
              const key = row === undefined ? undefined : id(row);
              const isTicked = key !== undefined && ticked.has(key);
              const isPreviewed = key !== undefined && key === props.previewed;
              const isActive = item.index === active;
              return (
                <div
                  key={item.key}
                  id={`${base}-${item.index}`}
                  role="row"
                  aria-rowindex={item.index + 2}
                  aria-selected={bulk || onPreview ? isTicked || isPreviewed : undefined}
                  onClick={(event) => {
                    if ((event.target as Element).closest("a, button, input")) return;
                    setActive(item.index);
                    preview(row);
                  }}
                  onDoubleClick={() => row && onOpen?.(row)}
                  className={`absolute inset-x-0 grid ${lines > 1 ? "items-start py-1" : "items-center"} border-b border-line/60 px-3 ${isTicked || isPreviewed ? "bg-accent-wash" : "bg-canvas hover:bg-hover"} ${isActive ? "shadow-[inset_2px_0_0_var(--accent)]" : ""} ${onOpen || onPreview ? "cursor-pointer" : ""}`}
                  style={{
                    gridTemplateColumns: template,
                    height: item.size,
                    transform: `translateY(${item.start}px)`,
                  }}
                >
                  {bulk && (
                    <span role="gridcell" className="flex">
                      <input
                        type="checkbox"
                        aria-label="Select row"
                        checked={isTicked}
                        disabled={row === undefined}
                        onChange={() => tick(row)}
                        className="accent-accent"
                      />
                    </span>
                  )}
                  {columns.map((column) => (
                    <div
                      key={column.id}
                      role="gridcell"
                      className={`min-w-0 px-2 ${lines > 1 ? "overflow-hidden break-words" : "truncate"} ${column.align === "right" ? "text-right" : ""} ${column.fixed ? FIXED : ""}`}
                    >
                      {row === undefined ? (
                        <Skeleton className="h-3 w-2/3" />
                      ) : lines > 1 ? (
                        <div className="line-clamp-(--lines)" style={{ "--lines": lines } as CSSProperties}>
                          {column.cell(row, item.index)}
                        </div>
                      ) : (
                        column.cell(row, item.index)
                      )}
                    </div>
                  ))}
                </div>
              );
            })}
          </div>
        </div>
      </div>
      {source.total === undefined && !source.error && (
        <div role="status" aria-label="Loading" className="flex-1">
          {[72, 55, 63, 48, 60, 52].map((width) => (
            <div key={width} className="flex h-(--row) items-center border-b border-line/60 px-5">
              <div className="skeleton h-3" style={{ width: `${width}%` }} />
            </div>
          ))}
        </div>
      )}
      {source.total === 0 && <div className="flex-1 overflow-y-auto">{props.empty}</div>}
      {bulk && selected.length > 0 && (
        <div className="absolute inset-x-0 bottom-3 z-10 mx-auto flex w-max items-center gap-2 rounded-[7px] border border-line bg-raised px-3 py-1.5 shadow-pop">
          <span>{selected.length} selected</span>
          {bulk(selected, () => setTicked(new Map()))}
        </div>
      )}
    </div>
  );
}
