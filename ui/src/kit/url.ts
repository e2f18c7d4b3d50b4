import { useNavigate, useRouterState } from "@tanstack/react-router";
import { useCallback } from "react";

type Search = Record<string, unknown>;

/** The URL's search parameters, whatever the page. */
export function useSearchParams(): [Search, (change: Search, options?: { push?: boolean }) => void] {
  const search = useRouterState({ select: (state) => state.location.search as Search });
  const navigate = useNavigate();
  const change = useCallback(
    (next: Search, options: { push?: boolean } = {}) =>
      void navigate({
        to: ".",
        search: ((previous: Search) => {
          const merged: Search = { ...previous, ...next };
          // What is at its default does not clutter the address.
          for (const key of Object.keys(merged)) if (merged[key] === undefined) delete merged[key];
          return merged;
        }) as never,
        replace: !options.push,
      }),
    [navigate],
  );
  return [search, change];
}

type Pushed = { push?: boolean };

/** One piece of state that lives in the address: shareable, and (with `push`) back undoes it. */
export function useUrlState(
  key: string,
  initial: string,
  options?: Pushed,
): [string, (value: string) => void];
export function useUrlState(
  key: string,
  initial: number,
  options?: Pushed,
): [number, (value: number) => void];
export function useUrlState(
  key: string,
  initial: boolean,
  options?: Pushed,
): [boolean, (value: boolean) => void];
export function useUrlState<T extends string | number | boolean>(
  key: string,
  initial: T,
  options: Pushed = {},
): [T, (value: T) => void] {
  const [search, change] = useSearchParams();
  const raw = search[key];
  // The router parses "5" into a number: give back the type that the caller works with.
  const value = raw === undefined ? initial : ((typeof initial === "string" ? String(raw) : raw) as T);
  const push = options.push ?? false;
  const set = useCallback(
    (next: T) => change({ [key]: next === initial ? undefined : next }, { push }),
    [change, key, initial, push],
  );
  return [value, set];
}

const left = new Map<string, Search>();

/** Dialogs stand in the address too, but are not how a list was left: the way back must not open them again. */
const DIALOGS = ["add", "label"];

/** Note how a page was when it was last seen: search, order, what was looked at. */
export function rememberSearch(path: string, search: Search): void {
  left.set(path, Object.fromEntries(Object.entries(search).filter(([key]) => !DIALOGS.includes(key))));
}

/** How the page at `path` was left, so that the way back to a list leads to the list as it was. */
export function rememberedSearch(path: string): Search {
  return left.get(path) ?? {};
}
