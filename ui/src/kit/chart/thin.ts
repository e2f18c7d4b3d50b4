/** What of a curve is drawn: its extremes in each pixel column, its smoothed course, the mean of several. */

/** The shown part of the horizontal axis, cut into pixel columns. */
export interface Grid {
  low: number;
  high: number;
  buckets: number;
  log: boolean;
}

/** Two places in each bucket: positions of what `thin` returns. */
export function gridX({ low, high, buckets, log }: Grid): number[] {
  const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  return Array.from({ length: 2 * buckets }, (_, place) => {
    const at = from + (((place >> 1) + (place & 1 ? 0.75 : 0.25)) / buckets) * (to - from);
    return log ? 10 ** at : at;
  });
}

/** The first index whose value is not below `wanted`, in ascending values. */
export function lowerBound(values: ArrayLike<number>, wanted: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Minimum and maximum of `y` in each bucket, in the order in which they come: 2 · buckets values, null where there is
 * nothing. Lines that leave the shown part reach its edge. With `positive`, values ≤ 0 are left out (a log axis).
 */
export function thin(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  grid: Grid,
  positive = false,
): (number | null)[] {
  const { low, high, buckets, log } = grid;
  const out: (number | null)[] = new Array(2 * buckets).fill(null);
  const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const scale = buckets / (to - from || 1);
  const start = lowerBound(x, low);
  const usable = (value: number) => !Number.isNaN(value) && !(positive && value <= 0);
  let bucket = -1;
  let min = 0;
  let max = 0;
  let minAt = 0;
  let maxAt = 0;
  const close = () => {
    if (bucket < 0) return;
    out[2 * bucket] = minAt <= maxAt ? min : max;
    if (min !== max) out[2 * bucket + 1] = minAt <= maxAt ? max : min;
  };
  let index = start;
  for (; index < x.length; index++) {
    const at = x[index] as number;
    if (at > high) break;
    const value = y[index] as number;
    if (!usable(value)) continue;
    const place = Math.min(buckets - 1, Math.floor(((log ? Math.log10(at) : at) - from) * scale));
    if (place !== bucket) {
      close();
      bucket = place;
      min = max = value;
      minAt = maxAt = index;
    } else if (value < min) {
      min = value;
      minAt = index;
    } else if (value > max) {
      max = value;
      maxAt = index;
    }
  }
  close();
  edge(x, y, start - 1, -1, low, usable, (value) => {
    out[0] ??= value;
  });
  edge(x, y, index, 1, high, usable, (value) => {
    out[2 * buckets - 1] ??= value;
  });
  return out;
}

/** The value where the line crosses the edge of the shown part, between the nearest points outside and inside. */
function edge(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  outside: number,
  step: -1 | 1,
  at: number,
  usable: (value: number) => boolean,
  put: (value: number) => void,
): void {
  let out = outside;
  while (out >= 0 && out < x.length && !usable(y[out] as number)) out += step;
  let inside = outside - step;
  while (inside >= 0 && inside < x.length && !usable(y[inside] as number)) inside -= step;
  if (out < 0 || inside < 0 || out >= x.length || inside >= x.length) return;
  const [x0, x1] = [x[out] as number, x[inside] as number];
  const [y0, y1] = [y[out] as number, y[inside] as number];
  put(x1 === x0 ? y1 : y0 + ((at - x0) / (x1 - x0)) * (y1 - y0));
}

/**
 * Exponentially weighted mean, debiased: a point counts e^(−distance/scale), in units of x, so that how densely points
 * lie does not matter. NaN stays NaN and weighs nothing.
 */
export function smooth(x: ArrayLike<number>, y: ArrayLike<number>, scale: number): Float64Array {
  const out = new Float64Array(y.length).fill(Number.NaN);
  let sum = 0;
  let weight = 0;
  let before = Number.NaN;
  let distance = Number.NaN;
  let decay = 1;
  for (let index = 0; index < y.length; index++) {
    const value = y[index] as number;
    if (Number.isNaN(value)) continue;
    const at = x[index] as number;
    if (at - before !== distance) {
      distance = at - before;
      decay = Number.isNaN(distance) ? 0 : Math.exp(-distance / scale);
    }
    before = at;
    sum = sum * decay + value;
    weight = weight * decay + 1;
    out[index] = sum / weight;
  }
  return out;
}

/** How far smoothing at 0…1 reaches along an axis of this length: nothing at 0, a fifth of it at 1. */
export function smoothingScale(amount: number, length: number): number {
  return amount <= 0 ? 0 : (length * (10 ** (3 * amount) - 1)) / 999 / 5;
}

/** Mean and standard deviation of several thinned curves, where at least one of them is; gaps within one are bridged. */
export function meanOf(curves: (number | null)[][]): {
  mean: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
} {
  const filled = curves.map(bridge);
  const length = curves[0]?.length ?? 0;
  const mean: (number | null)[] = new Array(length).fill(null);
  const [low, high] = [mean.slice(), mean.slice()];
  for (let place = 0; place < length; place++) {
    let [count, sum, squares] = [0, 0, 0];
    for (const curve of filled) {
      const value = curve[place];
      if (value == null) continue;
      count++;
      sum += value;
      squares += value * value;
    }
    if (count === 0) continue;
    const middle = sum / count;
    const spread = Math.sqrt(Math.max(0, squares / count - middle * middle));
    mean[place] = middle;
    low[place] = middle - spread;
    high[place] = middle + spread;
  }
  return { mean, low, high };
}

/** Both values of a bucket become their mean, and gaps between two buckets a straight line. */
function bridge(curve: (number | null)[]): (number | null)[] {
  const out: (number | null)[] = curve.slice();
  for (let place = 0; place < out.length; place += 2) {
    const [one, other] = [out[place] ?? out[place + 1] ?? null, out[place + 1] ?? out[place] ?? null];
    out[place] = out[place + 1] = one === null || other === null ? null : (one + other) / 2;
  }
  let before = -1;
  for (let place = 0; place < out.length; place++) {
    if (out[place] === null) continue;
    for (let gap = before + 1; before >= 0 && gap < place; gap++)
      out[gap] =
        (out[before] as number) +
        ((gap - before) / (place - before)) * ((out[place] as number) - (out[before] as number));
    before = place;
  }
  return out;
}

/** The index of the measured point nearest to `at`; −1 when the column has none. */
export function nearest(x: ArrayLike<number>, y: ArrayLike<number>, at: number): number {
  const place = lowerBound(x, at);
  let right = place;
  while (right < x.length && Number.isNaN(y[right])) right++;
  let left = place - 1;
  while (left >= 0 && Number.isNaN(y[left])) left--;
  if (right >= x.length) return left;
  if (left < 0) return right;
  return at - (x[left] as number) <= (x[right] as number) - at ? left : right;
}
