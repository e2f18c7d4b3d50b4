import { useNavigate } from "@tanstack/react-router";
import { Check, Columns3, GitCompareArrows, RotateCcw } from "lucide-react";
import { useMemo, useState } from "react";
import { Button, format, LongName, Menu, tip, useSearchParams, useUrlState } from "@/kit";
import { seriesColour, seriesDash } from "@/kit/chart/colours";
import { useWidth } from "@/kit/useWidth";
import { type Comparison, comparedWords, figureOf, figureTitle, telling, USUAL_FIGURES } from "./comparison";
import { shortNames } from "./differences";
import { Axis, heightOf, missingAt } from "./ParallelAxis";
import { axisOf, type ParallelAxis, type Span, spansOf, spansText, within } from "./parallel";
import { shortTitle } from "./runs";

const MOST = 9;
/** Between two axes, in pixels. */
const LEAST = 84;
/** What stands above and below the plot. */
const AROUND = 340;

/** Settings and figures as parallel axes, a line for each run. A part of an axis that is dragged over chooses runs. */
export function ParallelCoordinates({ data }: { data: Comparison }) {
  const navigate = useNavigate();
  const [ref, shownWidth] = useWidth<HTMLDivElement>();
  const [axesText, setAxes] = useUrlState("axes", "");
  const [brush, setBrush] = useUrlState("brush", "");
  const [, change] = useSearchParams();
  const [lit, setLit] = useState<string | null>(null);
  const [dragged, setDragged] = useState<ReadonlyMap<string, Span> | null>(null);

  const possible = useMemo((): ParallelAxis[] => {
    const figures = [
      ...new Set([...USUAL_FIGURES.flatMap((name) => figureOf(data, name) ?? []), ...data.figures]),
    ];
    return [
      ...data.settings.map((one) =>
        axisOf(one.name, shortTitle(one), one.values, (value) => comparedWords(one.name, value)),
      ),
      ...figures.map((one) =>
        axisOf(one.name, figureTitle(one), one.values, (value) => format.figure(value as number)),
      ),
    ];
  }, [data]);
  const chosen = useMemo(() => {
    if (axesText) return axesText.split(",");
    const usual = USUAL_FIGURES.slice(0, 5).flatMap((name) => figureOf(data, name)?.name ?? []);
    return [...telling(data, MOST - usual.length).map((one) => one.name), ...usual];
  }, [axesText, data]);
  const axes = chosen.flatMap((name) => possible.find((axis) => axis.name === name) ?? []);
  const spans = dragged ?? spansOf(brush);
  const inside = within(axes, spans, data.trainings.length);
  const found = data.trainings.filter((_, place) => inside[place]);

  // Narrower than this the axes would run into one another: the plot scrolls instead.
  const width = Math.max(shownWidth, 120 + (axes.length - 1) * LEAST);
  const names = shortNames(data.trainings);
  const x = (place: number) =>
    axes.length < 2 ? width / 2 : 60 + (place * (width - 120)) / (axes.length - 1);
  const height = Math.min(720, Math.max(420, window.innerHeight - AROUND));
  const keep = (next: ReadonlyMap<string, Span>) => {
    setDragged(null);
    setBrush(spansText(next));
  };
  const set = (name: string, span: Span | null): Map<string, Span> => {
    const next = new Map(spans);
    if (span && (span[0] > 0 || span[1] < 1)) next.set(name, span);
    else next.delete(name);
    return next;
  };

  if (data.trainings.length < 2)
    return <p className="px-5 py-10 text-center text-muted">One run alone has nothing to stand beside.</p>;
  return (
    <div className="px-5 py-3">
      <div className="mb-1 flex min-h-8 flex-wrap items-center gap-3">
        <Menu
          align="start"
          items={possible.map((axis) => ({
            label: axis.title,
            icon: <Check size={14} className={chosen.includes(axis.name) ? "" : "opacity-0"} />,
            onSelect: () => {
              const next = chosen.includes(axis.name)
                ? chosen.filter((name) => name !== axis.name)
                : [...chosen, axis.name];
              // What is chosen on an axis that is gone would choose unseen.
              change({
                axes: next.join(",") || undefined,
                brush: spansText(set(axis.name, null)) || undefined,
              });
            },
          }))}
        >
          <Button icon={<Columns3 size={14} />}>Axes</Button>
        </Menu>
        {axesText && (
          <Button look="quiet" onClick={() => setAxes("")}>
            The usual
          </Button>
        )}
        <span className="text-muted" aria-live="polite">
          {spans.size > 0
            ? `${found.length} of ${format.plural(data.trainings.length, "run")} within what is chosen.`
            : "Drag along an axis to choose a part of it; with the keyboard, move the marks at its ends."}
        </span>
        {spans.size > 0 && (
          <>
            <Button icon={<RotateCcw size={13} />} onClick={() => keep(new Map())}>
              Choose all
            </Button>
            {found.length > 1 && found.length < data.trainings.length && (
              <Button
                icon={<GitCompareArrows size={14} />}
                onClick={() =>
                  void navigate({
                    to: "/trainings/compare",
                    search: { ids: found.map((run) => run.id).join(",") } as never,
                  })
                }
              >
                Compare these
              </Button>
            )}
          </>
        )}
      </div>
      <div ref={ref} className="min-w-0 overflow-x-auto">
        {shownWidth > 0 && (
          <svg width={width} height={height} className="block" aria-label="Parallel coordinates">
            {data.trainings.map((run, place) => (
              <Line
                key={run.id}
                points={axes.map((axis, index) => {
                  const at = axis.places[place];
                  return [
                    x(index),
                    at === null || at === undefined ? missingAt(height) : heightOf(at, height),
                  ];
                })}
                colour={seriesColour(place)}
                dash={seriesDash(place)}
                faint={!inside[place] || (lit !== null && lit !== run.id)}
                lit={lit === run.id}
                text={[
                  run.name,
                  ...axes.map((axis) => {
                    const values =
                      data.settings.find((one) => one.name === axis.name)?.values ??
                      data.figures.find((one) => one.name === axis.name)?.values;
                    return `${axis.title}: ${axis.words(values?.[place])}`;
                  }),
                ].join("\n")}
                onLight={(on) => setLit(on ? run.id : null)}
                onOpen={() => void navigate({ to: "/trainings/$id", params: { id: run.id } })}
              />
            ))}
            {axes.map((axis, index) => (
              <Axis
                key={axis.name}
                axis={axis}
                height={height}
                x={x(index)}
                span={spans.get(axis.name) ?? null}
                room={axes.length > 1 ? (width - 120) / (axes.length - 1) : width}
                onDrag={(span) => setDragged(set(axis.name, span))}
                onChoose={(span) => keep(set(axis.name, span))}
              />
            ))}
          </svg>
        )}
      </div>
      <ul aria-label="Chosen runs" className="mt-2 flex max-h-32 flex-wrap gap-x-3 gap-y-1 overflow-y-auto">
        {data.trainings.map((run, place) => (
          <li key={run.id} className={inside[place] ? "" : "opacity-40"}>
            <button
              type="button"
              className="flex h-6 items-center gap-1.5 rounded-[4px] px-1 text-xs hover:bg-hover"
              onPointerEnter={() => setLit(run.id)}
              onPointerLeave={() => setLit(null)}
              onFocus={() => setLit(run.id)}
              onBlur={() => setLit(null)}
              onClick={() => void navigate({ to: "/trainings/$id", params: { id: run.id } })}
              {...tip(`${run.name}\nOpen the run`)}
            >
              <svg aria-hidden="true" width="18" height="2">
                <line
                  x2="18"
                  y1="1"
                  y2="1"
                  stroke={seriesColour(place)}
                  strokeWidth="2"
                  strokeDasharray={seriesDash(place).join(" ")}
                />
              </svg>
              <span className="flex max-w-72 min-w-0">
                <LongName name={names[place] ?? run.name} />
              </span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Line({
  points,
  colour,
  dash,
  faint,
  lit,
  text,
  onLight,
  onOpen,
}: {
  points: [number, number][];
  colour: string;
  dash: number[];
  faint: boolean;
  lit: boolean;
  text: string;
  onLight: (on: boolean) => void;
  onOpen: () => void;
}) {
  const path = points
    .map(([x, y], index) => `${index > 0 ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`)
    .join("");
  return (
    // The runs can be reached by keyboard in the list below; a line is there for the pointer.
    // biome-ignore lint/a11y/noStaticElementInteractions: see above.
    <g
      onPointerEnter={() => onLight(true)}
      onPointerLeave={() => onLight(false)}
      onClick={onOpen}
      className="cursor-pointer"
      {...tip(text)}
    >
      <path d={path} fill="none" stroke="transparent" strokeWidth={9} />
      <path
        d={path}
        fill="none"
        style={{ stroke: colour, opacity: faint ? 0.13 : 0.85 }}
        strokeWidth={lit ? 3 : 1.5}
        strokeDasharray={dash.join(" ")}
        strokeLinejoin="round"
      />
      {points.map(([x, y]) => (
        <circle key={x} cx={x} cy={y} r={lit ? 4 : 2.5} style={{ fill: colour, opacity: faint ? 0.13 : 1 }} />
      ))}
    </g>
  );
}
