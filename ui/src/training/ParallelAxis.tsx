import { type KeyboardEvent, type PointerEvent, useRef } from "react";
import { tip } from "@/kit";
import type { ParallelAxis, Span } from "./parallel";

const TOP = 40;
/** Below the axes is room for the runs that have no value. */
const BOTTOM = 36;

/** Where on a plot of this height a place between 0 and 1 stands. */
export const heightOf = (at: number, height: number) => height - BOTTOM - at * (height - TOP - BOTTOM);

/** Where the lines of runs without a value pass. */
export const missingAt = (height: number) => height - 12;

/** One axis with its ticks, the part that is chosen, and a mark at either end of it. */
export function Axis({
  axis,
  height,
  x,
  span,
  room,
  onDrag,
  onChoose,
}: {
  axis: ParallelAxis;
  /** Of the whole plot. */
  height: number;
  x: number;
  span: Span | null;
  room: number;
  onDrag: (span: Span) => void;
  onChoose: (span: Span | null) => void;
}) {
  const begun = useRef<number | null>(null);
  const bottom = height - BOTTOM;
  const length = bottom - TOP;
  const y = (at: number) => heightOf(at, height);
  const at = (event: PointerEvent<SVGElement>) => {
    const box = event.currentTarget.ownerSVGElement?.getBoundingClientRect();
    return Math.min(1, Math.max(0, (bottom - (event.clientY - (box?.top ?? 0))) / length));
  };
  const spanTo = (place: number): Span => {
    const from = begun.current ?? place;
    return [Math.min(from, place), Math.max(from, place)];
  };
  const [low, high] = span ?? [0, 1];
  const nearest = (place: number) =>
    axis.ticks.reduce(
      (best, tick) => (Math.abs(tick.at - place) < Math.abs(best.at - place) ? tick : best),
      axis.ticks[0] ?? { at: 0, text: "" },
    ).text;
  const onKey = (end: 0 | 1) => (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowUp: 0.02, ArrowDown: -0.02, PageUp: 0.1, PageDown: -0.1 };
    const by = steps[event.key] ?? (event.key === "Home" ? -1 : event.key === "End" ? 1 : 0);
    if (event.key === "Escape") onChoose(null);
    else if (by === 0) return;
    else {
      const place = (end === 0 ? low : high) + by;
      onChoose(
        end === 0 ? [Math.max(0, Math.min(place, high)), high] : [low, Math.min(1, Math.max(place, low))],
      );
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const letters = Math.max(8, Math.floor(room / 6.6));
  return (
    <g>
      <text x={x} y={14} textAnchor="middle" className="fill-ink text-xs font-medium" {...tip(axis.title)}>
        {axis.title.length > letters ? `${axis.title.slice(0, letters - 1)}…` : axis.title}
      </text>
      <line x1={x} x2={x} y1={TOP} y2={bottom} className="stroke-line-strong" />
      {axis.ticks.map((tick) => (
        <text
          key={tick.text}
          x={x + 7}
          y={y(tick.at) + 4}
          fontSize={11}
          className="pointer-events-none fill-muted stroke-canvas"
          strokeWidth={3}
          paintOrder="stroke"
        >
          {tick.text.length > 22 ? `${tick.text.slice(0, 21)}…` : tick.text}
        </text>
      ))}
      {axis.places.includes(null) && (
        <text
          x={x + 7}
          y={missingAt(height) + 4}
          fontSize={11}
          className="pointer-events-none fill-faint stroke-canvas"
          strokeWidth={3}
          paintOrder="stroke"
        >
          none
        </text>
      )}
      {span && (
        <rect
          x={x - 6}
          width={12}
          y={y(high)}
          height={Math.max(2, y(low) - y(high))}
          className="fill-accent stroke-accent"
          fillOpacity={0.18}
        />
      )}
      <rect
        x={x - 12}
        width={24}
        y={TOP - 6}
        height={length + 12}
        fill="transparent"
        className="cursor-ns-resize"
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          begun.current = at(event);
        }}
        onPointerMove={(event) => {
          if (begun.current !== null && Math.abs(at(event) - begun.current) > 0.01) onDrag(spanTo(at(event)));
        }}
        onPointerUp={(event) => {
          if (begun.current === null) return;
          const next = spanTo(at(event));
          begun.current = null;
          // A click without a way lets the axis go.
          onChoose(next[1] - next[0] > 0.01 ? next : null);
        }}
        onPointerCancel={() => {
          begun.current = null;
          onChoose(span);
        }}
      />
      {([0, 1] as const).map((end) => (
        <path
          key={end}
          role="slider"
          tabIndex={0}
          aria-label={`${axis.title}: ${end === 0 ? "from" : "to"}`}
          aria-orientation="vertical"
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.round((end === 0 ? low : high) * 100)}
          aria-valuetext={`about ${nearest(end === 0 ? low : high)}`}
          d={end === 0 ? "M-6 7L0 0L6 7z" : "M-6-7L0 0L6-7z"}
          transform={`translate(${x} ${y(end === 0 ? low : high)})`}
          className={`${span ? "fill-accent" : "fill-line-strong"} pointer-events-none outline-none focus-visible:stroke-accent focus-visible:stroke-2`}
          onKeyDown={onKey(end)}
        />
      ))}
    </g>
  );
}
