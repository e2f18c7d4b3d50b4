import { useSyncExternalStore } from "react";

/** The shown part of the horizontal axis, in its units. */
export type Span = [low: number, high: number];

/** What charts side by side share: the crosshair, the part that is zoomed to, and the run that is pointed at. */
export class ChartGroup {
  /** Where the crosshair is, in units of the horizontal axis. */
  at: number | null = null;
  zoom: Span | null = null;
  /** The run under the pointer in the legend: the others stand back. */
  lit: string | null = null;
  readonly #watchers = new Set<() => void>();
  /** Called when the reader zooms, to keep it in the address. */
  onZoom: (zoom: Span | null) => void = () => {};

  watch = (watcher: () => void): (() => void) => {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  };

  point(at: number | null): void {
    if (this.at === at) return;
    this.at = at;
    this.#tell();
  }

  light(run: string | null): void {
    if (this.lit === run) return;
    this.lit = run;
    this.#tell();
  }

  zoomTo(zoom: Span | null, { quietly = false } = {}): void {
    if (this.zoom?.[0] === zoom?.[0] && this.zoom?.[1] === zoom?.[1]) return;
    this.zoom = zoom;
    this.#tell();
    if (!quietly) this.onZoom(zoom);
  }

  #tell(): void {
    for (const watcher of this.#watchers) watcher();
  }
}

export function useCrosshair(group: ChartGroup): number | null {
  return useSyncExternalStore(group.watch, () => group.at);
}

export function useZoom(group: ChartGroup): Span | null {
  return useSyncExternalStore(group.watch, () => group.zoom);
}
