import { Download, Maximize2, Minimize2, MoreHorizontal, Pin, PinOff, X } from "lucide-react";
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { toast } from "sonner";
import { useShownTheme } from "@/shell/preferences";
import { IconButton } from "../Button";
import { amount, exact } from "../format";
import { LongName } from "../LongName";
import { Menu, type MenuItem } from "../Menu";
import { tip } from "../Tip";
import { AXIS_NAMES, placeWords } from "./axes";
import { computedColours, seriesColour, seriesDash } from "./colours";
import { linesCsv } from "./csv";
import { figurePng, figureSvg, saveFile } from "./figure";
import { type ChartGroup, useCrosshair, useZoom } from "./group";
import { type Axis, extentOf, type Line, type Mark, markAt } from "./lines";
import { Plot, type PlotProps } from "./plot";
import { type Reading, readingsAt } from "./readout";
import { lowerBound } from "./thin";
import { useLive } from "./useLive";

export interface ChartProps {
  id: string;
  title: string;
  unit?: string;
  hint?: string;
  formula?: string;
  lines: Line[];
  marks?: Mark[];
  axis: Axis;
  logX: boolean;
  logY: boolean;
  smoothing: number;
  group: ChartGroup;
  /** What a run is called in tables that are saved. */
  runName?: (id: string) => string;
  large?: boolean;
  sparse?: boolean;
  pinned?: boolean;
  onLarge?: () => void;
  onPin?: () => void;
  onHide?: () => void;
}

const NONE: Mark[] = [];
/** More values than these do not fit beside the title. */
const BESIDE = 3;
const LISTED = 14;

/** A live chart of runs: values of all at one crosshair, zoom shared with its neighbours, saved as PNG, SVG or CSV. */
export function Chart(props: ChartProps) {
  const { title, unit, lines, axis, logX, logY, smoothing, group, large = false, sparse = false } = props;
  const marks = props.marks ?? NONE;
  const height = large ? 380 : 180;
  const theme = useShownTheme();
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const settings: PlotProps = { lines, marks, axis, logX, logY, smoothing, unit, height, theme, sparse };
  const first = useRef(settings);
  first.current = settings;
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = new Plot(element, group, first.current);
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
  }, [group]);
  useEffect(() => {
    plot.current?.update({ lines, marks, axis, logX, logY, smoothing, unit, height, theme, sparse });
  }, [lines, marks, axis, logX, logY, smoothing, unit, height, theme, sparse]);

  const items: MenuItem[] = [
    ...(props.onPin
      ? [
          {
            label: props.pinned ? "Unpin" : "Pin to the top",
            icon: props.pinned ? <PinOff size={14} /> : <Pin size={14} />,
            onSelect: props.onPin,
          },
        ]
      : []),
    ...(props.onHide ? [{ label: "Hide", icon: <X size={14} />, onSelect: props.onHide }] : []),
    ...(["PNG", "SVG", "CSV"] as const).map((kind, index) => ({
      label: `Download ${kind}`,
      icon: <Download size={14} />,
      apart: index === 0,
      onSelect: () => void save(kind, props, plot.current, host.current),
    })),
  ];
  return (
    <figure className={`m-0 min-w-0 ${large ? "col-span-full" : ""}`}>
      <figcaption className="group/chart @container flex h-6 items-center gap-x-2 text-xs">
        <span className="truncate font-medium" {...tip(props.hint, props.formula)}>
          {title}
          {unit && !unit.startsWith("bytes") && <span className="font-normal text-muted"> ({unit})</span>}
        </span>
        <span className="ml-auto min-w-0 truncate">
          <Beside {...props} marks={marks} />
        </span>
        <span className="-mr-1 flex shrink-0 text-muted">
          {props.onLarge && (
            <IconButton label={large ? "Smaller" : "Larger"} size="size-6" onClick={props.onLarge}>
              {large ? <Minimize2 size={13} /> : <Maximize2 size={13} />}
            </IconButton>
          )}
          <Menu items={items}>
            <IconButton label={`${title}: more`} size="size-6">
              <MoreHorizontal size={14} />
            </IconButton>
          </Menu>
        </span>
      </figcaption>
      <Crosshair {...props} marks={marks}>
        <div ref={host} style={{ height }} />
        {(lines.length > BESIDE || lines.some((line) => line.group)) && <Card {...props} />}
        {lines.length > BESIDE && new Set(lines.map((line) => line.run)).size === 1 && <Terms {...props} />}
      </Crosshair>
    </figure>
  );
}

type Parts = Omit<ChartProps, "marks"> & { marks: Mark[] };

/** The keys of a chart, and what a screen reader is told: the crosshair is a slider whose value is what it reads. */
function Crosshair({ children, ...props }: Parts & { children: React.ReactNode }) {
  const { group, lines, axis, logX, title, unit, smoothing } = props;
  const at = useCrosshair(group);
  const zoom = useZoom(group);
  const [focused, setFocused] = useState(false);
  const extent = extentOf(lines, axis, logX);
  const [low, high] = zoom ?? extent ?? [0, 1];
  const place = Math.min(Math.max(at ?? high, low), high);
  const words = () =>
    [
      placeWords(place, axis),
      ...readingsAt(lines, axis, at, smoothing, high - low).map(
        (one) => `${lines.length > 1 ? `${one.label} ` : ""}${amount(one.value, unit)}`,
      ),
    ].join(", ");
  const keys = (event: KeyboardEvent) => {
    const next = moved(event, place, [low, high], lines, axis);
    if (next !== null) group.point(next);
    else if (event.key === "Escape" && (at !== null || zoom)) {
      if (at !== null) group.point(null);
      else group.zoomTo(null);
    } else if (event.key === "+" || event.key === "-") {
      const reach = ((high - low) * (event.key === "+" ? 0.5 : 2)) / 2;
      const [from, to] = [
        Math.max(place - reach, extent?.[0] ?? low),
        Math.min(place + reach, extent?.[1] ?? high),
      ];
      group.zoomTo(extent && from <= extent[0] && to >= extent[1] ? null : [from, to]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div
      className="group/plot relative rounded-[3px]"
      role="slider"
      tabIndex={0}
      aria-label={`${title}, crosshair`}
      aria-valuemin={low}
      aria-valuemax={high}
      aria-valuenow={place}
      aria-valuetext={focused ? words() : placeWords(place, axis)}
      onKeyDown={keys}
      onFocus={() => setFocused(true)}
      onBlur={() => {
        setFocused(false);
        group.point(null);
      }}
    >
      {children}
    </div>
  );
}

/** Where a key takes the crosshair; null for a key that does not move it. */
function moved(
  event: KeyboardEvent,
  place: number,
  [low, high]: [number, number],
  lines: Line[],
  axis: Axis,
): number | null {
  if (event.key === "Home") return low;
  if (event.key === "End") return high;
  const way = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
  if (way === undefined) return null;
  const x = lines[0]?.points.column(axis);
  if (!x || x.length === 0) return place;
  // Not less than a pixel or two: a hundred thousand points are not walked through one by one.
  const least = (high - low) / 400;
  const at = lowerBound(x, place);
  const next = x[
    Math.min(Math.max(at + (way > 0 && x[at] !== place ? way - 1 : way), 0), x.length - 1)
  ] as number;
  const far = Math.abs(next - place) >= least ? next : place + way * least;
  return Math.min(Math.max(far, low), high);
}

function useReadings(props: Parts): { at: number | null; readings: Reading[] } {
  const { lines, axis, group, smoothing, logX } = props;
  const at = useCrosshair(group);
  useLive(lines.map((line) => line.points));
  const extent = extentOf(lines, axis, logX);
  const length = extent ? extent[1] - extent[0] : 0;
  return { at, readings: readingsAt(lines, axis, at, smoothing, length) };
}

/** The values at the crosshair, or the newest, beside the title; what happened where the crosshair is near a mark. */
function Beside(props: Parts) {
  const { at, readings } = useReadings(props);
  const { axis, unit, marks, lines, group } = props;
  const zoom = useZoom(group);
  const span = zoom ?? extentOf(lines, axis, props.logX);
  const near =
    at !== null && span
      ? marks.filter((mark) => {
          const place = markAt(mark, axis);
          return place !== null && Math.abs(place - at) < (span[1] - span[0]) / 60;
        })
      : [];
  const few = lines.length <= BESIDE && !lines.some((line) => line.group);
  return (
    <span className="inline-flex items-center gap-x-3 text-muted">
      {near.length > 0 && (
        <span className="truncate text-ink">{near.map((mark) => mark.text).join("; ")}</span>
      )}
      {at !== null && near.length === 0 && (
        <span className="whitespace-nowrap">{placeWords(readings[0]?.at ?? at, axis)}</span>
      )}
      {few &&
        readings.map((one) => (
          <span key={one.id} className="inline-flex items-center gap-1 whitespace-nowrap">
            {lines.length > 1 && <Swatch place={one.colour} />}
            {lines.length > 1 && <span className="hidden @[430px]:inline">{one.label}</span>}
            <span className="text-ink" {...tip(`${one.label}: ${exact(one.value)}${unit ? ` ${unit}` : ""}`)}>
              {amount(one.value, unit?.startsWith("bytes") ? unit : undefined)}
            </span>
            {one.smoothed !== null && (
              <span {...tip("Smoothed")}>
                ({amount(one.smoothed, unit?.startsWith("bytes") ? unit : undefined)})
              </span>
            )}
          </span>
        ))}
    </span>
  );
}

function Swatch({ place }: { place: number }) {
  return (
    <svg aria-hidden="true" width="14" height="2" className="shrink-0">
      <line
        x2="14"
        y1="1"
        y2="1"
        strokeWidth="2"
        strokeDasharray={seriesDash(place).join(" ")}
        style={{ stroke: seriesColour(place) }}
      />
    </svg>
  );
}

/** The values of many runs at the crosshair, over the plot that is pointed at, on the side away from it. */
function Card(props: ChartProps & { marks?: Mark[] }) {
  const { at, readings } = useReadings({ ...props, marks: props.marks ?? NONE });
  const zoom = useZoom(props.group);
  const span = zoom ?? extentOf(props.lines, props.axis, props.logX);
  if (at === null || !span || readings.length === 0) return null;
  const right = at - span[0] < (span[1] - span[0]) / 2;
  const sorted = readings.toSorted((one, other) => other.value - one.value);
  const unit = props.unit?.startsWith("bytes") ? props.unit : undefined;
  return (
    <div
      className={`pointer-events-none absolute top-1 z-10 hidden max-w-[60%] group-focus-within/plot:block group-hover/plot:block rounded-[4px] border border-line bg-raised/90 px-1.5 py-1 text-2xs leading-[14px] ${right ? "right-1" : "left-14"}`}
    >
      {sorted.slice(0, LISTED).map((one) => (
        <div key={one.id} className="flex items-center gap-1.5">
          <Swatch place={one.colour} />
          <span className="flex min-w-0 flex-1 text-muted">
            <LongName name={one.label} />
            {one.runs !== undefined && <span className="shrink-0 whitespace-pre"> ({one.runs})</span>}
          </span>
          <span className="whitespace-nowrap">
            {amount(one.value, unit)}
            {one.spread !== undefined && ` ± ${amount(one.spread, unit)}`}
          </span>
        </div>
      ))}
      {sorted.length > LISTED && <div className="text-muted">and {sorted.length - LISTED} more</div>}
    </div>
  );
}

/** What the lines of one run are, over the plot until it is pointed at: the names of runs stand beside all charts. */
function Terms(props: ChartProps) {
  const { readings } = useReadings({ ...props, marks: props.marks ?? NONE });
  const unit = props.unit?.startsWith("bytes") ? props.unit : undefined;
  return (
    <div className="pointer-events-none absolute top-1 right-1 rounded-[4px] bg-raised/80 px-1.5 py-1 text-2xs leading-[14px] group-focus-within/plot:hidden group-hover/plot:hidden">
      {readings.map((one) => (
        <div key={one.id} className="flex items-center gap-1.5">
          <Swatch place={one.colour} />
          <span className="flex-1 text-muted">{one.label}</span>
          <span>{amount(one.value, unit)}</span>
        </div>
      ))}
    </div>
  );
}

async function save(
  kind: "PNG" | "SVG" | "CSV",
  props: ChartProps,
  plot: Plot | null,
  host: HTMLElement | null,
): Promise<void> {
  const name = props.id.replace(/[^\w.-]+/g, "-");
  if (kind === "CSV") {
    const csv = linesCsv(props.lines, (line) => props.runName?.(line.run) ?? line.run);
    saveFile(`${name}.csv`, new Blob([csv], { type: "text/csv" }));
    return;
  }
  if (!plot?.drawing || !plot.rangeY || !host) {
    toast.error("There is nothing to draw yet.");
    return;
  }
  const places = [...new Set(plot.drawing.traces.map((trace) => trace.colour))];
  // A figure is for paper: the light theme's colours, whatever is on the screen.
  const light = document.createElement("div");
  light.style.colorScheme = "light";
  host.append(light);
  const found = computedColours(light, places.map(seriesColour));
  light.remove();
  const svg = figureSvg({
    title: props.unit ? `${props.title} (${props.unit})` : props.title,
    xLabel: AXIS_NAMES[props.axis],
    drawing: plot.drawing,
    rangeY: plot.rangeY,
    ticks: plot.ticks,
    logX: props.logX,
    logY: props.logY,
    colourOf: (place) => plain(found[places.indexOf(place)] as string),
    marks: (props.marks ?? NONE).flatMap((mark) => {
      const at = markAt(mark, props.axis);
      return at === null ? [] : [{ at, text: mark.text }];
    }),
  });
  if (kind === "SVG") saveFile(`${name}.svg`, new Blob([svg], { type: "image/svg+xml" }));
  else saveFile(`${name}.png`, await figurePng(svg));
}

/** A colour as sRGB, which every program that reads SVG knows. */
function plain(colour: string): string {
  const context = document.createElement("canvas").getContext("2d");
  if (!context) return colour;
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return `rgb(${red}, ${green}, ${blue})`;
}
