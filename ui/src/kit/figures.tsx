import { useEffect, useState } from "react";
import { ago, amount, bytes, exact, figure, parseTime, percent, utc } from "./format";
import { tip } from "./Tip";

/** A number at 3 significant figures with its unit; the exact value in the tooltip. */
export function Num({ value, unit, of }: { value: number | null | undefined; unit?: string; of?: string }) {
  const full = `${of ? `${of}: ` : ""}${exact(value)}${unit ? ` ${unit}` : ""}`;
  return (
    <span className="whitespace-nowrap" {...tip(value === null || value === undefined ? null : full)}>
      {amount(value, unit)}
    </span>
  );
}

/** A share of one, in per cent. */
export function Percent({ value }: { value: number | null | undefined }) {
  return (
    <span className="whitespace-nowrap" {...tip(value === null || value === undefined ? null : exact(value))}>
      {percent(value)}
    </span>
  );
}

export function Bytes({ value }: { value: number | null | undefined }) {
  return (
    <span
      className="whitespace-nowrap"
      {...tip(value === null || value === undefined ? null : `${exact(value)} bytes`)}
    >
      {bytes(value)}
    </span>
  );
}

let ticking: ReturnType<typeof setInterval> | null = null;
const clocks = new Set<() => void>();

/** Re-renders the caller every 15 seconds; one timer serves all. */
function useClock(): void {
  const [, tick] = useState(0);
  useEffect(() => {
    const clock = () => tick((count) => count + 1);
    clocks.add(clock);
    ticking ??= setInterval(() => {
      for (const one of clocks) one();
    }, 15_000);
    return () => {
      clocks.delete(clock);
      if (clocks.size === 0 && ticking) {
        clearInterval(ticking);
        ticking = null;
      }
    };
  }, []);
}

/** "4 min ago", with the exact UTC on hover. */
export function RelativeTime({ at }: { at: string | null | undefined }) {
  useClock();
  if (!at) return <span className="text-faint">–</span>;
  const time = parseTime(at);
  return (
    <time dateTime={time.toISOString()} className="whitespace-nowrap" {...tip(utc(time))}>
      {ago(time)}
    </time>
  );
}

/** What a metric means, as the server tells it. */
export interface MetricInfo {
  title: string;
  unit: string;
  formula: string;
  description: string;
  better?: string;
}

/** A metric: its name, figure and unit; the definition, formula and exact value in the tooltip. */
export function Metric({
  info,
  value,
  share = false,
  words,
  absent,
  layout = "block",
}: {
  info: MetricInfo;
  value: number | null | undefined;
  /** Show as per cent. */
  share?: boolean;
  /** What to show instead of the figure, as for durations. */
  words?: string;
  /** Why there is no figure yet. */
  absent?: string;
  /** `block`: name above figure; `inline`: the figure alone. */
  layout?: "block" | "inline";
}) {
  const missing = value === null || value === undefined;
  const text = [
    info.title,
    info.description,
    info.better ? `Better: ${info.better}.` : "",
    missing ? (absent ?? "") : `Exactly: ${exact(value)}${info.unit ? ` ${info.unit}` : ""}`,
  ];
  const shown = words ?? (share ? percent(value) : figure(value));
  const attributes = tip(text.filter(Boolean).join("\n"), info.formula);
  if (layout === "inline")
    return (
      <span className="whitespace-nowrap" {...attributes}>
        {shown}
      </span>
    );
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: the definition must be reachable by keyboard.
    <div className="min-w-0 rounded-[4px]" tabIndex={0} {...attributes}>
      <div className="truncate text-2xs text-muted">{info.title}</div>
      <div className="truncate text-lg font-medium">
        {shown}
        {missing && absent && <span className="ml-1.5 text-xs font-normal text-muted">{absent}</span>}
        {info.unit && !share && !missing && (
          <span className="ml-1 text-xs font-normal text-muted">{info.unit}</span>
        )}
      </div>
    </div>
  );
}
