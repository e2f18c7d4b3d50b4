import { Link } from "@tanstack/react-router";
import { LongName, tip } from "@/kit";
import { seriesColour, seriesDash } from "@/kit/chart/colours";
import type { ChartGroup } from "@/kit/chart/group";
import type { ShownRun } from "./RunCurves";
import { useFieldTitles } from "./runs";

/** As many settings as are read at a glance. */
const MOST = 8;

/** Which line is which run: pointing lights it in all charts, a click hides it, a double click shows it alone. */
export function RunLegend({
  runs,
  names,
  groups,
  hidden,
  group,
  settings,
  onToggle,
}: {
  runs: ShownRun[];
  /** What tells them apart. */
  names: string[];
  groups: ({ name: string; colour: number } | undefined)[];
  hidden: Set<string>;
  group: ChartGroup;
  /** Where they differ. */
  settings: Map<string, string[]>;
  onToggle: (id: string, alone: boolean) => void;
}) {
  const titleOf = useFieldTitles();
  // Runs of a group stand together.
  const order = runs
    .map((_, place) => place)
    .toSorted((one, other) => (groups[one]?.colour ?? 0) - (groups[other]?.colour ?? 0));
  return (
    <ul aria-label="Runs" className="mb-3 flex max-h-36 shrink-0 flex-wrap gap-x-1 gap-y-0.5 overflow-y-auto">
      {order.map((place, index) => {
        const run = runs[place];
        if (!run) return null;
        const named = groups[place]?.name;
        const first = named !== undefined && named !== groups[order[index - 1] ?? -1]?.name;
        const off = hidden.has(run.id);
        const colour = groups[place]?.colour ?? place;
        const differs = [...settings]
          // What only some of them have at all is told on the page of differences.
          .filter(([, values]) => new Set(values.filter((value) => value !== "–")).size > 1)
          .filter(([, values]) => values[place] !== "–")
          .slice(0, MOST)
          .map(([path, values]) => `${titleOf(path)}: ${values[place]}`)
          .join("\n");
        return (
          <li key={run.id} className={`flex min-w-0 items-center ${first ? "max-w-[28rem]" : "max-w-72"}`}>
            {first && <span className="px-1 text-xs font-medium whitespace-nowrap">{named}:</span>}
            <button
              type="button"
              aria-pressed={!off}
              className={`flex h-6 min-w-0 items-center gap-1.5 rounded-[4px] px-1.5 text-xs hover:bg-hover ${off ? "text-faint line-through" : ""}`}
              onPointerEnter={() => group.light(run.id)}
              onPointerLeave={() => group.light(null)}
              onFocus={() => group.light(run.id)}
              onBlur={() => group.light(null)}
              onClick={(event) => onToggle(run.id, event.detail > 1 || event.altKey)}
              {...tip(`${run.name}\n${differs}\nClick to hide, Alt-click to see it alone.`)}
            >
              <svg width="14" height="4" aria-hidden="true" className="shrink-0">
                <line
                  x1="0"
                  x2="14"
                  y1="2"
                  y2="2"
                  strokeWidth="2"
                  strokeDasharray={seriesDash(colour).join(" ")}
                  style={{ stroke: seriesColour(colour), opacity: off ? 0.3 : 1 }}
                />
              </svg>
              <LongName name={names[place] ?? run.name} />
            </button>
            <Link
              to="/trainings/$id"
              params={{ id: run.id }}
              aria-label={`Open ${run.name}`}
              className="flex size-6 items-center justify-center rounded-[4px] text-xs text-faint hover:bg-hover hover:text-accent"
            >
              ↗
            </Link>
          </li>
        );
      })}
    </ul>
  );
}
