/** A chart as a figure for a paper: SVG with axes, legend and marks, on white; PNG is the same, rasterised. */

import { seriesDash } from "./colours";
import type { Drawing } from "./lines";

export interface Tick {
  at: number;
  text: string;
}

export interface FigureParts {
  title: string;
  xLabel: string;
  drawing: Drawing;
  rangeY: [number, number];
  ticks: { x: Tick[]; y: Tick[] };
  logX: boolean;
  logY: boolean;
  /** Of the traces' palette places. */
  colourOf: (place: number) => string;
  marks: { at: number; text: string }[];
}

const WIDTH = 640;
const PLOT = { left: 62, top: 34, width: 562, height: 300 };
/** Letters that fit beside a line of the legend. */
const LEGEND = 84;
const INK = "#222";
const GRID = "#ddd";

/** The figure as SVG text. */
export function figureSvg(parts: FigureParts): string {
  const { drawing, rangeY, ticks } = parts;
  const x = scaleOf(drawing.span, parts.logX, PLOT.left, PLOT.left + PLOT.width);
  const y = scaleOf(rangeY, parts.logY, PLOT.top + PLOT.height, PLOT.top);
  const named = drawing.traces.filter((trace) => trace.kind === "line");
  const legend = named.length > 1 ? named : [];
  const bottom = PLOT.top + PLOT.height;
  const height = bottom + 44 + legend.length * 16;
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="Inter, Helvetica, Arial, sans-serif" font-size="11" fill="${INK}">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${PLOT.left}" y="20" font-size="13" font-weight="600">${escaped(parts.title)}</text>`,
    `<clipPath id="plot"><rect x="${PLOT.left}" y="${PLOT.top}" width="${PLOT.width}" height="${PLOT.height}"/></clipPath>`,
  ];
  for (const tick of ticks.x) {
    const at = round(x(tick.at));
    if (at < PLOT.left || at > PLOT.left + PLOT.width) continue;
    out.push(
      `<line x1="${at}" x2="${at}" y1="${PLOT.top}" y2="${bottom}" stroke="${GRID}"/>`,
      `<text x="${at}" y="${bottom + 15}" text-anchor="middle">${escaped(tick.text)}</text>`,
    );
  }
  for (const tick of ticks.y) {
    const at = round(y(tick.at));
    if (at < PLOT.top || at > bottom) continue;
    out.push(
      `<line x1="${PLOT.left}" x2="${PLOT.left + PLOT.width}" y1="${at}" y2="${at}" stroke="${GRID}"/>`,
      `<text x="${PLOT.left - 6}" y="${at + 4}" text-anchor="end">${escaped(tick.text)}</text>`,
    );
  }
  out.push(
    `<text x="${PLOT.left + PLOT.width}" y="${bottom + 32}" text-anchor="end">${escaped(parts.xLabel)}</text>`,
    `<g clip-path="url(#plot)" fill="none" stroke-linejoin="round">`,
  );
  drawing.traces.forEach((trace, index) => {
    const colour = parts.colourOf(trace.colour);
    const low = drawing.traces[index + 1];
    if (trace.kind === "low") return;
    if (trace.kind === "high" && low) {
      const top = positions(drawing.x, trace.y, x, y);
      const under = positions(drawing.x, low.y, x, y).reverse();
      if (top.length > 1)
        out.push(
          `<polygon points="${[...top, ...under].join(" ")}" fill="${colour}" fill-opacity="0.18" stroke="none"/>`,
        );
      return;
    }
    const raw = trace.kind === "raw";
    const dash = seriesDash(trace.colour).join(" ");
    out.push(
      `<polyline points="${positions(drawing.x, trace.y, x, y).join(" ")}" stroke="${colour}" stroke-width="${raw ? 1 : 1.5}"${raw ? ' stroke-opacity="0.25"' : ""}${dash ? ` stroke-dasharray="${dash}"` : ""}/>`,
    );
  });
  out.push("</g>");
  for (const mark of parts.marks) {
    const at = round(x(mark.at));
    if (at < PLOT.left || at > PLOT.left + PLOT.width) continue;
    out.push(
      `<line x1="${at}" x2="${at}" y1="${PLOT.top}" y2="${bottom}" stroke="#888" stroke-dasharray="3 3"><title>${escaped(mark.text)}</title></line>`,
    );
  }
  legend.forEach((trace, row) => {
    const at = bottom + 46 + row * 16;
    const dash = seriesDash(trace.colour).join(" ");
    out.push(
      `<line x1="${PLOT.left}" x2="${PLOT.left + 18}" y1="${at - 4}" y2="${at - 4}" stroke="${parts.colourOf(trace.colour)}" stroke-width="2"${dash ? ` stroke-dasharray="${dash}"` : ""}/>`,
      `<text x="${PLOT.left + 24}" y="${at}">${escaped(shortened(trace.label, LEGEND))}</text>`,
    );
  });
  out.push("</svg>");
  return out.join("\n");
}

/** The same figure as PNG, at this many times its size. */
export async function figurePng(svg: string, scale = 3): Promise<Blob> {
  const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth * scale;
    canvas.height = image.naturalHeight * scale;
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve, reject) =>
      canvas.toBlob(
        (blob) => (blob ? resolve(blob) : reject(new Error("The figure is too large."))),
        "image/png",
      ),
    );
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Hand a file to the browser's downloads. */
export function saveFile(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A long name without its middle; what stands after its last " · " tells it from others and stays. */
export function shortened(name: string, most: number): string {
  if (name.length <= most) return name;
  const at = name.lastIndexOf(" · ");
  const tail = at > 0 && name.length - at < most / 2 ? name.slice(at) : "";
  return `${name.slice(0, most - 1 - tail.length)}…${tail}`;
}

function scaleOf([low, high]: [number, number], log: boolean, from: number, to: number) {
  const on = (value: number) => (log ? Math.log10(value) : value);
  const span = on(high) - on(low) || 1;
  return (value: number) => from + ((on(value) - on(low)) / span) * (to - from);
}

function positions(
  xs: number[],
  ys: (number | null)[],
  x: (value: number) => number,
  y: (value: number) => number,
): string[] {
  return xs.flatMap((at, index) => {
    const value = ys[index];
    return value == null ? [] : [`${round(x(at))},${round(y(value))}`];
  });
}

const round = (value: number) => Math.round(value * 100) / 100;

const escaped = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
