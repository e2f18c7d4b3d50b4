import { useNavigate } from "@tanstack/react-router";
import { Check, Columns3, GitCompareArrows, RotateCcw } from "lucide-react";
import { type KeyboardEvent, type PointerEvent, useMemo, useRef, useState } from "react";
import { Button, format, Menu, tip, useSearchParams, useUrlState } from "@/kit";
import { seriesColour, seriesDash } from "@/kit/chart/colours";
import { useWidth } from "@/kit/useWidth";
import { type Comparison, figureOf, figureTitle, USUAL_FIGURES, valueWords } from "./comparison";
import { shortNames } from "./differences";
import { axisOf, type ParallelAxis, type Span, spansOf, spansText, within } from "./parallel";
import { shortTitle } from "./runs";

const TOP = 40;
const BOTTOM = 16;
const HEIGHT = 440;
const MOST = 9;

/** Settings and figures as parallel axes, a line for each run. A part of an axis that is dragged over chooses runs. */
export function ParallelCoordinates({ data }: { data: Comparison }) {
  const navigate = useNavigate();
  const [ref, width] = useWidth<HTMLDivElement>();
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
        axisOf(one.name, shortTitle(one), one.values, (value) => valueWords(one.name, value)),
      ),
      ...figures.map((one) =>
        axisOf(one.name, figureTitle(one), one.values, (value) => valueWords(one.name, value)),
      ),
    ];
  }, [data]);
  const chosen = useMemo(() => {
    if (axesText) return axesText.split(",");
    const usual = USUAL_FIGURES.slice(0, 5).flatMap((name) => figureOf(data, name)?.name ?? []);
    return [...data.settings.map((one) => one.name).slice(0, MOST - usual.length), ...usual];
  }, [axesText, data]);
  const axes = chosen.flatMap((name) => possible.find((axis) => axis.name === name) ?? []);
  const spans = dragged ?? spansOf(brush);
  const inside = within(axes, spans, data.trainings.length);
  const found = data.trainings.filter((_, place) => inside[place]);

  const names = shortNames(data.trainings.map((run) => run.name));
  const x = (place: number) =>
    axes.length < 2 ? width / 2 : 60 + (place * (width - 120)) / (axes.length - 1);
  const y = (at: number) => HEIGHT - BOTTOM - at * (HEIGHT - TOP - BOTTOM);
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
      <div ref={ref} className="min-w-0">
        {width > 0 && (
          <svg width={width} height={HEIGHT} className="block" aria-label="Parallel coordinates">
            {data.trainings.map((run, place) => (
              <Line
                key={run.id}
                points={axes.map((axis, index) => {
                  const at = axis.places[place];
                  return at === null || at === undefined ? null : [x(index), y(at)];
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
                    return `${axis.title}: ${valueWords(axis.name, values?.[place])}`;
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
              {...tip("Open the run")}
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
              <span className="max-w-72 truncate">{names[place]}</span>
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
  points: ([number, number] | null)[];
  colour: string;
  dash: number[];
  faint: boolean;
  lit: boolean;
  text: string;
  onLight: (on: boolean) => void;
  onOpen: () => void;
}) {
  let path = "";
  for (const [index, point] of points.entries())
    if (point)
      path += `${path && points[index - 1] ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
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
      {points.map(
        (point) =>
          point && (
            <circle
              key={point[0]}
              cx={point[0]}
              cy={point[1]}
              r={lit ? 4 : 2.5}
              style={{ fill: colour, opacity: faint ? 0.13 : 1 }}
            />
          ),
      )}
    </g>
  );
}

/** One axis with its ticks, the part that is chosen, and a mark at either end of it. */
function Axis({
  axis,
  x,
  span,
  room,
  onDrag,
  onChoose,
}: {
  axis: ParallelAxis;
  x: number;
  span: Span | null;
  room: number;
  onDrag: (span: Span) => void;
  onChoose: (span: Span | null) => void;
}) {
  const begun = useRef<number | null>(null);
  const height = HEIGHT - TOP - BOTTOM;
  const y = (at: number) => HEIGHT - BOTTOM - at * height;
  const at = (event: PointerEvent<SVGElement>) => {
    const box = event.currentTarget.ownerSVGElement?.getBoundingClientRect();
    return Math.min(1, Math.max(0, (HEIGHT - BOTTOM - (event.clientY - (box?.top ?? 0))) / height));
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
      <line x1={x} x2={x} y1={TOP} y2={HEIGHT - BOTTOM} className="stroke-line-strong" />
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
        height={height + 12}
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
