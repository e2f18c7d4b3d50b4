import { useEffect, useRef, useSyncExternalStore } from "react";

/** One shortcut: "g d" is g, then d; "ctrl+k" also means ⌘K. */
export interface Binding {
  keys: string;
  label: string;
  run: (event: KeyboardEvent) => void;
}

interface Group {
  name: string;
  bindings: Binding[];
}

const groups: Group[] = [];
const watchers = new Set<() => void>();
let snapshot: readonly Group[] = [];

function changed(): void {
  snapshot = [...groups];
  for (const watcher of watchers) watcher();
}

/** Shortcuts of a page or component, listed under `name` by `?` while it is mounted. The last mounted wins. */
export function useKeys(name: string, bindings: Binding[], enabled = true): void {
  const current = useRef(bindings);
  useEffect(() => {
    current.current = bindings;
  });
  const shape = bindings.map((binding) => `${binding.keys}\u0000${binding.label}`).join("\u0001");
  useEffect(() => {
    if (!enabled) return;
    const group: Group = {
      name,
      bindings: shape.split("\u0001").map((line, index) => {
        const [keys = "", label = ""] = line.split("\u0000");
        return { keys, label, run: (event) => current.current[index]?.run(event) };
      }),
    };
    groups.push(group);
    changed();
    return () => {
      groups.splice(groups.indexOf(group), 1);
      changed();
    };
  }, [name, shape, enabled]);
}

/** Every shortcut that works now. */
export function useKeyGroups(): readonly Group[] {
  return useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    () => snapshot,
  );
}

function nameOf(event: KeyboardEvent): string {
  const modifier = event.ctrlKey || event.metaKey ? "ctrl+" : event.altKey ? "alt+" : "";
  const key = event.key === " " ? "space" : event.key.length === 1 ? event.key : event.key.toLowerCase();
  return modifier + (modifier ? key.toLowerCase() : key);
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable ||
      target.matches("input:not([type=checkbox]):not([type=radio]), textarea, select"))
  );
}

/** The one listener. Returns what takes it away again. */
export function installKeys(): () => void {
  let prefix = "";
  let since = 0;
  const find = (keys: string): Binding | undefined => {
    for (const group of groups.toReversed()) {
      const binding = group.bindings.find((one) => one.keys === keys);
      if (binding) return binding;
    }
    return undefined;
  };
  const listen = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.isComposing || event.key === "Shift") return;
    const key = nameOf(event);
    const modal = document.querySelector("[data-modal], [role=menu]") !== null;
    if (modal) return;
    if (isTyping(event.target)) {
      // Escape leaves the field; all other plain keys are text.
      if (key === "escape") (event.target as HTMLElement).blur();
      if (!key.startsWith("ctrl+")) return;
    }
    const now = event.timeStamp;
    const sequence = prefix && now - since < 1200 ? `${prefix} ${key}` : "";
    prefix = "";
    const binding = (sequence && find(sequence)) || find(key);
    if (binding) {
      event.preventDefault();
      binding.run(event);
    } else if (groups.some((group) => group.bindings.some((one) => one.keys.startsWith(`${key} `)))) {
      prefix = key;
      since = now;
    }
  };
  document.addEventListener("keydown", listen);
  return () => document.removeEventListener("keydown", listen);
}
