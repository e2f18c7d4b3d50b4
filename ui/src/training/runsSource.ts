/** The rows of a list with heads of groups between them, some of them closed. */
import { useMemo } from "react";
import type { RowSource } from "@/kit";
import type { ListedRun, Row, RunGroup } from "./runs";

interface Part {
  group: RunGroup;
  open: boolean;
  /** Position of the head among all rows. */
  head: number;
  /** Position of the first run in the list without heads. */
  first: number;
}

/** Rows with the heads of `groups`, which are sorted as the list is; without groups, the list. */
export function useGroupedRows(
  list: RowSource<ListedRun>,
  groups: RunGroup[] | undefined,
  closed: ReadonlySet<string>,
): RowSource<Row> {
  const parts = useMemo(() => layOut(groups ?? [], closed), [groups, closed]);
  if (!groups)
    return {
      ...list,
      row: (index) => {
        const run = list.row(index);
        return run && { run };
      },
    };
  const last = parts.at(-1);
  return {
    ...list,
    total:
      list.total === undefined ? undefined : last ? last.head + 1 + (last.open ? last.group.count : 0) : 0,
    row: (index) => {
      const part = partAt(parts, index);
      if (!part) return undefined;
      if (part.head === index) return { group: part.group, open: part.open };
      const run = list.row(part.first + index - part.head - 1);
      return run && { run };
    },
    want: (first, until) => {
      const places = [runAt(parts, first), runAt(parts, until)];
      list.want(Math.min(...places), Math.max(...places));
    },
  };
}

export const groupKey = (group: RunGroup) => JSON.stringify(group.value);

export function layOut(groups: RunGroup[], closed: ReadonlySet<string>): Part[] {
  let head = 0;
  let first = 0;
  return groups.map((group) => {
    const part = { group, open: !closed.has(groupKey(group)), head, first };
    head += 1 + (part.open ? group.count : 0);
    first += group.count;
    return part;
  });
}

export function partAt(parts: Part[], index: number): Part | undefined {
  let low = 0;
  let high = parts.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((parts[middle]?.head ?? 0) <= index) low = middle;
    else high = middle - 1;
  }
  return parts[low];
}

/** The run at a row, or the nearest after a head. */
function runAt(parts: Part[], index: number): number {
  const part = partAt(parts, index);
  if (!part) return 0;
  return part.first + Math.min(part.group.count - 1, Math.max(0, index - part.head - 1));
}
