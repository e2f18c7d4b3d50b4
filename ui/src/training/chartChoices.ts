import { useSyncExternalStore } from "react";

/** Which charts a reader wants to see, kept in this browser for all runs. */
interface Choices {
  hidden: string[];
  pinned: string[];
}

const KEY = "run-charts";
const NONE: Choices = { hidden: ["explained_variance", "cosine"], pinned: [] };
const watchers = new Set<() => void>();
let choices = read();

function read(): Choices {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "null") as Partial<Choices> | null;
    return { ...NONE, ...kept };
  } catch {
    return NONE;
  }
}

function set(next: Choices): void {
  choices = next;
  try {
    localStorage.setItem(KEY, JSON.stringify(next));
  } catch {
    // Storage is refused in some private windows: the choice then lasts as long as the page.
  }
  for (const watcher of watchers) watcher();
}

const without = (list: string[], id: string) => list.filter((one) => one !== id);

export const hideChart = (id: string) =>
  set({ hidden: [...without(choices.hidden, id), id], pinned: without(choices.pinned, id) });
export const showChart = (id: string) => set({ ...choices, hidden: without(choices.hidden, id) });
export const pinChart = (id: string) => set({ ...choices, pinned: [...without(choices.pinned, id), id] });
export const unpinChart = (id: string) => set({ ...choices, pinned: without(choices.pinned, id) });

export function useChartChoices(): Choices {
  return useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    () => choices,
  );
}
