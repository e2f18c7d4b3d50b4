import { Link } from "@tanstack/react-router";
import { ArrowDown, ArrowUp, Trophy } from "lucide-react";
import { useMemo } from "react";
import { format, LongName, tip, useUrlState } from "@/kit";
import { seriesColour } from "@/kit/chart/colours";
import {
  type ComparedFigure,
  type Comparison,
  comparedWords,
  figureOf,
  figureTitle,
  telling,
  USUAL_FIGURES,
} from "./comparison";
import { shortNames } from "./differences";
import { RunState, shortTitle, type Value } from "./runs";

/** More settings than these push what came out of the window. */
const MOST_SETTINGS = 4;

interface Shown {
  name: string;
  title: string;
  hint: string;
  values: (Value | undefined)[];
  figure?: ComparedFigure;
}

const wordy = (column: Shown) =>
  column.values.every((value) => value === null || value === undefined || typeof value === "string");

/** What came out of each run beside where it differs from the others; the best of each figure is marked. */
export function CompareFigures({ data }: { data: Comparison }) {
  const [all, setAll] = useUrlState("all", false);
  const [sort, setSort] = useUrlState("order", "");
  const columns = useMemo((): Shown[] => {
    const usual = USUAL_FIGURES.flatMap((name) => figureOf(data, name) ?? []);
    const figures = all ? [...new Set([...usual, ...data.figures])] : usual;
    return [
      ...(all ? data.settings : telling(data, MOST_SETTINGS)).map((setting) => ({
        name: setting.name,
        title: shortTitle(setting),
        hint: [setting.title, setting.description, setting.unit && `In ${setting.unit}.`]
          .filter(Boolean)
          .join("\n"),
        values: setting.values,
      })),
      ...figures.map((figure) => ({
        name: figure.name,
        title: figureTitle(figure),
        hint: `${figure.title}: ${figure.description}\n= ${figure.formula}${figure.better ? `\nBetter: ${figure.better}.` : ""}`,
        values: figure.values,
        figure,
      })),
    ];
  }, [data, all]);
  const names = shortNames(data.trainings);
  const descending = sort.startsWith("-");
  const sorted = columns.find((column) => column.name === sort.replace(/^-/, ""));
  const order = data.trainings
    .map((_, place) => place)
    .toSorted((one, other) => {
      const [left, right] = [sorted?.values[one], sorted?.values[other]];
      if (left == null || right == null) return Number(left == null) - Number(right == null);
      const by =
        typeof left === "number" && typeof right === "number"
          ? left - right
          : String(left).localeCompare(String(right));
      return descending ? -by : by;
    });
  return (
    <div className="min-h-0 flex-1 overflow-auto px-5 pb-5">
      <label className="flex h-10 items-center gap-1.5 text-muted">
        <input
          type="checkbox"
          className="accent-accent"
          checked={all}
          onChange={(event) => setAll(event.target.checked)}
        />
        All settings and figures
      </label>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls sideways must be reachable by keyboard. */}
      <section className="overflow-x-auto" tabIndex={0} aria-label="Figures of the runs">
        <table className="border-separate border-spacing-0 text-sm whitespace-nowrap">
          <thead>
            <tr className="text-xs text-muted">
              <th
                scope="col"
                className="sticky left-0 z-10 border-b border-line bg-canvas py-1 pr-4 text-left font-normal"
              >
                Run
              </th>
              <th scope="col" className="border-b border-line px-3 text-left font-normal">
                State
              </th>
              {columns.map((column) => {
                const on = sorted === column;
                return (
                  <th
                    key={column.name}
                    scope="col"
                    aria-sort={on ? (descending ? "descending" : "ascending") : undefined}
                    className={`border-b border-line px-3 font-normal ${wordy(column) ? "text-left" : "text-right"}`}
                    {...tip(column.hint)}
                  >
                    <button
                      type="button"
                      className={`inline-flex items-center gap-1 rounded-[3px] hover:text-ink ${on ? "font-medium text-ink" : ""}`}
                      onClick={() => {
                        const first = column.figure?.better === "higher" ? "-" : "";
                        const next = !on ? first : descending ? "" : "-";
                        setSort(`${next}${column.name}`);
                      }}
                    >
                      {column.title}
                      {on && (descending ? <ArrowDown size={12} /> : <ArrowUp size={12} />)}
                    </button>
                  </th>
                );
              })}
            </tr>
          </thead>
          <tbody>
            {order.map((place) => {
              const run = data.trainings[place];
              if (!run) return null;
              return (
                <tr key={run.id} className="group">
                  <th
                    scope="row"
                    className="sticky left-0 z-10 border-b border-line/60 bg-canvas py-1 pr-4 text-left font-medium group-hover:bg-hover"
                  >
                    <span className="flex items-center gap-2">
                      <span
                        aria-hidden="true"
                        className="h-3 w-1 shrink-0 rounded-full"
                        style={{ background: seriesColour(place) }}
                      />
                      <Link
                        to="/trainings/$id"
                        params={{ id: run.id }}
                        className="flex max-w-60 min-w-0 hover:underline 2xl:max-w-96"
                        {...tip(run.name)}
                      >
                        <LongName name={names[place] ?? run.name} />
                      </Link>
                    </span>
                  </th>
                  <td className="border-b border-line/60 px-3 group-hover:bg-hover">
                    <RunState run={run} />
                  </td>
                  {columns.map((column) => {
                    const value = column.values[place];
                    const best = column.figure?.best.includes(place);
                    return (
                      <td
                        key={column.name}
                        className={`border-b border-line/60 px-3 group-hover:bg-hover ${wordy(column) ? "text-left" : "text-right"} ${best ? "font-semibold text-done" : ""}`}
                        {...tip(typeof value === "number" ? format.exact(value) : null)}
                      >
                        {best && (
                          <Trophy size={11} aria-label="best" className="mr-1 inline-block align-[-1px]" />
                        )}
                        {!column.figure
                          ? comparedWords(column.name, value)
                          : column.figure.name.endsWith("_fraction")
                            ? format.percent(value as number | null)
                            : format.figure(value as number | null)}
                      </td>
                    );
                  })}
                </tr>
              );
            })}
          </tbody>
        </table>
      </section>
    </div>
  );
}
