/** One chart on canvas: uPlot over what `drawingOf` makes of the lines, kept up to date while points arrive. */
import "../locale";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { tickX, tickY } from "./axes";
import { computedColours, seriesColour, seriesDash } from "./colours";
import { drawLive, drawNever, drawSoon } from "./frames";
import type { ChartGroup } from "./group";
import { type Axis, type Drawing, drawingOf, type Line, type Mark, markAt, type Trace } from "./lines";

export interface PlotProps {
  lines: Line[];
  marks: Mark[];
  axis: Axis;
  logX: boolean;
  logY: boolean;
  smoothing: number;
  unit: string | undefined;
  height: number;
  theme: string;
  /** Measured now and then: every value is shown as a point. */
  sparse: boolean;
}

const RAW_ALPHA = 0.22;
const DIM_ALPHA = 0.12;

export class Plot {
  /** What is on the screen, for figures that are saved. */
  drawing: Drawing | null = null;
  #props: PlotProps;
  #plot: uPlot | null = null;
  #shape = "";
  #visible = true;
  #dirty = true;
  /** Where the pointer is over the plot, in pixels from its left. */
  #pointer: number | null = null;
  #points = new Map<object, () => void>();
  readonly #watchers: (() => void)[];
  readonly #draw = () => this.#paint();

  constructor(
    private readonly host: HTMLElement,
    private readonly group: ChartGroup,
    props: PlotProps,
  ) {
    this.#props = props;
    const sizes = new ResizeObserver(() => {
      const width = host.clientWidth;
      if (!this.#plot || width === 0 || width === this.#plot.width) return;
      this.#plot.setSize({ width, height: this.#props.height });
      this.#soon();
    });
    sizes.observe(host);
    // What is scrolled out of view costs nothing.
    const sight = new IntersectionObserver(([entry]) => {
      this.#visible = entry?.isIntersecting ?? true;
      if (this.#visible && this.#dirty) this.#soon();
    });
    sight.observe(host);
    let [zoom, lit] = [group.zoom, group.lit];
    this.#watchers = [
      () => sizes.disconnect(),
      () => sight.disconnect(),
      group.watch(() => {
        if (zoom !== group.zoom) this.#soon();
        if (lit !== group.lit) this.#light();
        [zoom, lit] = [group.zoom, group.lit];
        this.#point();
      }),
    ];
    this.update(props);
  }

  get ticks(): { x: { at: number; text: string }[]; y: { at: number; text: string }[] } {
    const of = (which: number) => {
      const axis = this.#plot?.axes[which] as
        | { _splits?: (number | null)[]; _values?: (string | null)[] }
        | undefined;
      return (axis?._splits ?? []).flatMap((at, index) => {
        const text = axis?._values?.[index];
        return at === null || text == null || text === "" ? [] : [{ at, text: String(text) }];
      });
    };
    return { x: of(0), y: of(1) };
  }

  get rangeY(): [number, number] | null {
    const { min, max } = this.#plot?.scales.y ?? {};
    return min == null || max == null ? null : [min, max];
  }

  update(props: PlotProps): void {
    this.#props = props;
    const logs = new Set(props.lines.map((line) => line.points));
    for (const [log, forget] of this.#points)
      if (!logs.has(log as never)) {
        forget();
        this.#points.delete(log);
      }
    for (const log of logs)
      if (!this.#points.has(log))
        this.#points.set(
          log,
          log.watch((anew) => this.#soon(anew ? drawSoon : drawLive)),
        );
    this.#soon();
  }

  destroy(): void {
    drawNever(this.#draw);
    for (const forget of [...this.#watchers, ...this.#points.values()]) forget();
    this.#plot?.destroy();
    this.#plot = null;
  }

  #soon(draw = drawSoon): void {
    this.#dirty = true;
    if (this.#visible) draw(this.#draw);
  }

  #paint(): void {
    const { host } = this;
    if (host.clientWidth === 0) return;
    this.#dirty = false;
    const { lines, axis, logX, smoothing, height, theme, unit, sparse } = this.#props;
    const width = this.#plot ? this.#plot.over.clientWidth : host.clientWidth - 60;
    const options = { axis, logX, logY: this.#props.logY, smoothing, zoom: this.group.zoom, width };
    this.drawing = drawingOf(lines, options);
    // What is nowhere positive has no logarithm: it is shown as it is.
    if (options.logY && this.drawing?.traces.every((trace) => trace.y.every((value) => value === null))) {
      options.logY = false;
      this.drawing = drawingOf(lines, options);
    }
    const { logY } = options;
    if (!this.drawing) {
      this.#plot?.destroy();
      this.#plot = null;
      this.#shape = "";
      return;
    }
    const data = [this.drawing.x, ...this.drawing.traces.map((trace) => trace.y)] as uPlot.AlignedData;
    const traces = this.drawing.traces.map((trace) => `${trace.kind}${trace.colour}${trace.run}`);
    const shape = [axis, logX, logY, height, theme, unit, sparse, ...traces].join();
    if (this.#plot && shape === this.#shape) this.#plot.setData(data);
    else {
      this.#plot?.destroy();
      this.#shape = shape;
      this.#plot = this.#build(this.drawing.traces, data, logY);
      this.#light();
    }
    // The axis has moved under a pointer that rests.
    if (this.#pointer !== null) this.group.point(this.#plot.posToVal(this.#pointer, "x"));
    else this.#point();
  }

  #build(traces: Trace[], data: uPlot.AlignedData, logY: boolean): uPlot {
    const { axis, logX, height, unit, sparse } = this.#props;
    const [ink = "", grid = "", strong = ""] = computedColours(this.host, [
      "var(--ink-muted)",
      "var(--line)",
      "var(--line-strong)",
    ]);
    const strokes = computedColours(
      this.host,
      traces.map((trace) => seriesColour(trace.colour)),
    );
    const look = {
      stroke: ink,
      font: "11px Inter Variable",
      grid: { stroke: grid, width: 1 },
      ticks: { show: false },
      gap: 4,
    };
    const made = new uPlot(
      {
        width: this.host.clientWidth,
        height,
        legend: { show: false },
        cursor: {
          y: false,
          points: {
            size: (_, series) => {
              const kind = traces[series - 1]?.kind;
              return kind === "low" || kind === "high" || kind === "raw" ? 0 : 6;
            },
          },
          dataIdx: (self, series, index) => nearestValue(self.data[series], index),
          drag: { x: true, y: false, setScale: false },
          bind: {
            dblclick: () => () => {
              this.group.zoomTo(null);
              return null;
            },
          },
        },
        scales: {
          x: {
            time: axis === "time",
            distr: logX ? 3 : 1,
            range: () => (this.drawing?.span ?? [0, 1]) as [number, number],
          },
          y: { distr: logY ? 3 : 1 },
        },
        axes: [
          {
            ...look,
            size: 24,
            values: (_, ticks, _axis, _space, step) =>
              ticks.map((tick) => (tick === null ? "" : tickX(tick, axis, step))),
          },
          {
            ...look,
            size: 52,
            values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : tickY(tick, unit))),
          },
        ],
        series: [
          {},
          ...traces.map((trace, index): uPlot.Series => {
            const bound = trace.kind === "low" || trace.kind === "high";
            return {
              stroke: bound ? "transparent" : (strokes[index] as string),
              width: trace.kind === "raw" ? 1 : 1.5,
              dash: seriesDash(trace.colour),
              spanGaps: true,
              alpha: trace.kind === "raw" ? RAW_ALPHA : 1,
              points: { show: sparse && !bound, size: 4, fill: strokes[index] as string },
            };
          }),
        ],
        bands: traces.flatMap((trace, index) =>
          trace.kind === "high"
            ? [{ series: [index + 1, index + 2] as [number, number], fill: faint(strokes[index] as string) }]
            : [],
        ),
        hooks: {
          draw: [(self) => this.#drawMarks(self, strong)],
          setSelect: [
            (self) => {
              const { left, width } = self.select;
              if (width < 4) return;
              const ends = [self.posToVal(left, "x"), self.posToVal(left + width, "x")] as [number, number];
              self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
              this.group.zoomTo(ends);
              // The pointer stands elsewhere on the new axis than where it let go.
              this.group.point(null);
            },
          ],
        },
      },
      data,
      this.host,
    );
    made.over.addEventListener("mousemove", (event) => {
      this.#pointer = event.offsetX;
      this.group.point(made.posToVal(event.offsetX, "x"));
    });
    made.over.addEventListener("mouseleave", () => {
      this.#pointer = null;
      this.group.point(null);
    });
    return made;
  }

  #drawMarks(plot: uPlot, colour: string): void {
    const { left, top, width, height } = plot.bbox;
    const context = plot.ctx;
    context.save();
    context.strokeStyle = context.fillStyle = colour;
    context.lineWidth = devicePixelRatio;
    const size = 4 * devicePixelRatio;
    for (const mark of this.#props.marks) {
      const at = markAt(mark, this.#props.axis);
      if (at === null) continue;
      const x = Math.round(plot.valToPos(at, "x", true));
      if (x < left || x > left + width) continue;
      context.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      context.beginPath();
      context.moveTo(x, top);
      context.lineTo(x, top + height);
      context.stroke();
      context.setLineDash([]);
      context.beginPath();
      context.moveTo(x - size, top);
      context.lineTo(x + size, top);
      context.lineTo(x, top + 1.5 * size);
      context.fill();
    }
    context.restore();
  }

  /** Put the crosshair where the group has it. */
  #point(): void {
    const plot = this.#plot;
    if (!plot || !this.#visible || !this.drawing) return;
    const { at } = this.group;
    const left = at === null ? -10 : plot.valToPos(at, "x");
    if (plot.cursor.left === left) return;
    plot.setCursor({ left, top: at === null ? -10 : 0 }, false);
  }

  /** Let all runs but the one pointed at stand back. */
  #light(): void {
    const plot = this.#plot;
    if (!plot || !this.drawing) return;
    const { lit } = this.group;
    this.drawing.traces.forEach((trace, index) => {
      const series = plot.series[index + 1];
      const usual = trace.kind === "raw" ? RAW_ALPHA : 1;
      if (series) series.alpha = lit !== null && trace.run !== lit ? Math.min(usual, DIM_ALPHA) : usual;
    });
    plot.redraw(false);
  }
}

/** The index nearest to `index` that has a value. */
function nearestValue(values: ArrayLike<number | null | undefined> | undefined, index: number): number {
  if (!values) return index;
  for (let away = 0; away < values.length; away++) {
    if (values[index - away] != null) return index - away;
    if (values[index + away] != null) return index + away;
  }
  return index;
}

function faint(colour: string): string {
  return `color-mix(in oklch, ${colour} 18%, transparent)`;
}
