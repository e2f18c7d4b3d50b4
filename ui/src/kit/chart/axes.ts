/** Words on axes. */
import { bytes, duration, figure } from "../format";
import type { Axis } from "./lines";

export const AXIS_NAMES: Record<Axis, string> = {
  step: "steps",
  tokens: "tokens",
  elapsed: "training time",
  time: "time of day",
};

/** The time of day; seconds only where ticks are closer than a minute. */
export function clock(seconds: number, step: number): string {
  return new Date(seconds * 1000).toTimeString().slice(0, step < 60 ? 8 : 5);
}

/** A place on the horizontal axis, in full: "step 1 230", "14:03:22". */
export function placeWords(value: number, axis: Axis): string {
  if (axis === "time") return clock(value, 1);
  if (axis === "elapsed") return duration(value);
  const whole = Math.round(value).toLocaleString("en-US").replaceAll(",", "\u2009");
  return axis === "step" ? `step ${whole}` : `${whole} tokens`;
}

/** A tick's label. `step` is the distance to the next. */
export function tickX(value: number, axis: Axis, step: number): string {
  if (axis === "time") return clock(value, step);
  return axis === "elapsed" ? duration(value) : figure(value);
}

export function tickY(value: number, unit: string | undefined): string {
  return unit?.startsWith("bytes") ? bytes(value) : figure(value);
}
