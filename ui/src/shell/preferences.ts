import { useSyncExternalStore } from "react";

export type Theme = "light" | "dark" | "system";
export type Density = "compact" | "comfortable";

const watchers = new Set<() => void>();
const root = document.documentElement;

function set(name: "theme" | "density", value: string): void {
  root.dataset[name] = value;
  try {
    localStorage.setItem(name, value);
  } catch {
    // Storage is refused in some private windows: the choice then lasts as long as the page.
  }
  for (const watcher of watchers) watcher();
}

function watch(watcher: () => void): () => void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  watchers.add(watcher);
  system.addEventListener("change", watcher);
  return () => {
    watchers.delete(watcher);
    system.removeEventListener("change", watcher);
  };
}

export const setTheme = (theme: Theme) => set("theme", theme);
export const setDensity = (density: Density) => set("density", density);

export function useTheme(): Theme {
  return useSyncExternalStore(watch, () => (root.dataset.theme as Theme | undefined) ?? "system");
}

export function useDensity(): Density {
  return useSyncExternalStore(watch, () => (root.dataset.density as Density | undefined) ?? "compact");
}

/** Which of the two is on the screen now. */
export function useShownTheme(): "light" | "dark" {
  return useSyncExternalStore(watch, () => {
    const theme = root.dataset.theme;
    if (theme === "light" || theme === "dark") return theme;
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  });
}
