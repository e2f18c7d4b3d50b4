import { type KeyboardEvent, type PointerEvent, useEffect, useRef, useState } from "react";
import { computedColours } from "@/kit/chart/colours";

/** What of the pixels a value is drawn at: the rarest bins stay visible beside the fullest. */
const strength = (share: number) => share ** 0.45;

/**
 * Histograms side by side: a column per frame, a row per bin from the bottom up, the shade by the count.
 * One frame is selected: by click, and by the arrow keys.
 */
export function HeatMap({
  counts,
  label,
  selected,
  onSelect,
  valueText,
  bin,
  onBin,
  height,
}: {
  /** Frames of bins. */
  counts: number[][];
  label: string;
  selected: number;
  onSelect: (frame: number) => void;
  /** What the selected frame is, in words. */
  valueText: string;
  /** The bin that is pointed at, here or beside. */
  bin: number | null;
  onBin: (bin: number | null, frame?: number) => void;
  height: number;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const theme = useTheme();
  const frames = counts.length;
  const bins = counts[0]?.length ?? 0;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme changes what the colours are.
  useEffect(() => {
    const surface = canvas.current;
    const pen = surface?.getContext("2d");
    if (!surface || !pen || !frames || !bins) return;
    const [colour = ""] = computedColours(surface.parentElement ?? surface, ["var(--heat)"]);
    surface.width = frames;
    surface.height = bins;
    pen.clearRect(0, 0, frames, bins);
    pen.fillStyle = colour;
    const top = Math.max(1, ...counts.map((frame) => Math.max(...frame)));
    counts.forEach((frame, x) => {
      frame.forEach((count, y) => {
        if (count === 0) return;
        pen.globalAlpha = Math.max(0.06, strength(count / top));
        pen.fillRect(x, bins - 1 - y, 1, 1);
      });
    });
  }, [counts, frames, bins, theme]);

  const at = (event: PointerEvent) => {
    const box = event.currentTarget.getBoundingClientRect();
    const part = (value: number, size: number, n: number) =>
      Math.min(n - 1, Math.max(0, Math.floor((value / size) * n)));
    return {
      frame: part(event.clientX - box.left, box.width, frames),
      bin: bins - 1 - part(event.clientY - box.top, box.height, bins),
    };
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, number> = {
      ArrowRight: selected + 1,
      ArrowLeft: selected - 1,
      PageUp: selected + 10,
      PageDown: selected - 10,
      Home: 0,
      End: frames - 1,
    };
    const next = steps[event.key];
    if (next === undefined) return;
    event.preventDefault();
    onSelect(Math.min(frames - 1, Math.max(0, next)));
  };
  return (
    <div
      role="slider"
      tabIndex={0}
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={frames - 1}
      aria-valuenow={selected}
      aria-valuetext={valueText}
      onKeyDown={onKeyDown}
      onPointerDown={(event) => onSelect(at(event).frame)}
      onPointerMove={(event) => {
        const place = at(event);
        if (event.buttons === 1) onSelect(place.frame);
        onBin(place.bin, place.frame);
      }}
      onPointerLeave={() => onBin(null)}
      className="relative min-w-0 flex-1 cursor-crosshair touch-none overflow-hidden rounded-[3px] bg-sunken"
      style={{ height }}
    >
      <canvas ref={canvas} className="absolute inset-0 size-full [image-rendering:pixelated]" />
      <div
        aria-hidden="true"
        className="pointer-events-none absolute inset-y-0 border-x border-accent"
        style={{ left: `${(selected / frames) * 100}%`, width: `max(2px, ${100 / frames}%)` }}
      />
      {bin !== null && (
        <div
          aria-hidden="true"
          className="pointer-events-none absolute inset-x-0 border-y border-ink/40"
          style={{ bottom: `${(bin / bins) * 100}%`, height: `${100 / bins}%` }}
        />
      )}
    </div>
  );
}

const themeNow = () =>
  `${document.documentElement.dataset.theme ?? ""} ${matchMedia("(prefers-color-scheme: dark)").matches}`;

/** Changes when the colours do. */
function useTheme(): string {
  const [theme, setTheme] = useState(themeNow);
  useEffect(() => {
    const watcher = new MutationObserver(() => setTheme(themeNow()));
    watcher.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    const media = matchMedia("(prefers-color-scheme: dark)");
    const change = () => setTheme(themeNow());
    media.addEventListener("change", change);
    return () => {
      watcher.disconnect();
      media.removeEventListener("change", change);
    };
  }, []);
  return theme;
}
