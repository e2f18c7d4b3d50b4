import { figure } from "@/kit/format";

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** 10⁻³ for powers of ten, figures for the rest. */
export function powerWords(value: number): string {
  const size = Math.abs(value);
  const exponent = Math.log10(size);
  const whole = Math.round(exponent);
  if (size === 0 || Math.abs(exponent - whole) > 1e-6) return figure(value, 2);
  const sign = value < 0 ? "−" : "";
  if (whole >= -2 && whole <= 3) return `${sign}${10 ** whole}`;
  const digits = [...String(Math.abs(whole))].map((digit) => RAISED[Number(digit)]).join("");
  return `${sign}10${whole < 0 ? "⁻" : ""}${digits}`;
}

/** The powers of ten among the edges (and 0 between negative and positive ones), by their share of the axis's length. */
export function axisTicks(edges: number[], scale: string): { at: number; words: string }[] {
  const bins = edges.length - 1;
  if (bins < 1) return [];
  const ticks = edges.flatMap((edge, place) => {
    const exponent = Math.log10(Math.abs(edge));
    const power = edge !== 0 && Math.abs(exponent - Math.round(exponent)) < 1e-6;
    return power ? [{ at: place / bins, words: powerWords(edge) }] : [];
  });
  if (scale === "symlog") {
    const middle = edges.findIndex((edge, place) => edge < 0 && (edges[place + 1] ?? -1) > 0);
    if (middle >= 0) {
      const zero = (middle + 0.5) / bins;
      return [...ticks.filter((tick) => Math.abs(tick.at - zero) > 0.06), { at: zero, words: "0" }];
    }
  }
  return thinned(ticks);
}

/** Few enough not to run into each other. */
function thinned(ticks: { at: number; words: string }[]): { at: number; words: string }[] {
  const kept: { at: number; words: string }[] = [];
  for (const tick of ticks) if (tick.at - (kept.at(-1)?.at ?? -1) >= 0.075) kept.push(tick);
  return kept;
}
