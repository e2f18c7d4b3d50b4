/** Metric points of one run as growing columns of numbers; what was not measured is NaN. */

import { lowerBound } from "./thin";

/** Points as the server sends them: columns of equal length, among them `step`, `tokens` and `time`. */
export type Columns = Record<string, (number | null)[]>;

/** Time that passes without points, beyond this many times the usual distance, was a pause. */
const PAUSE = 20;
const SHORTEST_PAUSE = 60;

export class PointLog {
  /** Grows with every change: who has drawn an older version draws again. */
  version = 0;
  length = 0;
  #room = 0;
  readonly #columns = new Map<string, Float64Array>();
  readonly #views = new Map<string, Float64Array>();
  readonly #watchers = new Set<(anew: boolean) => void>();
  #usual = 0;

  get names(): string[] {
    return [...this.#columns.keys()];
  }

  get lastStep(): number {
    return this.length === 0 ? 0 : (this.#columns.get("step")?.[this.length - 1] as number);
  }

  /** A column's values so far; undefined when there is no such column. */
  column(name: string): Float64Array | undefined {
    const known = this.#views.get(name);
    if (known?.length === this.length) return known;
    const view = this.#columns.get(name)?.subarray(0, this.length);
    if (view) this.#views.set(name, view);
    return view;
  }

  /** The newest measured value of a column. */
  last(name: string): number | null {
    const values = this.column(name);
    if (values)
      for (let index = values.length - 1; index >= 0; index--)
        if (!Number.isNaN(values[index])) return values[index] as number;
    return null;
  }

  /** `watcher` is called after each change, and told whether it was more than points at the end. */
  watch(watcher: (anew: boolean) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** These points and no others. */
  replace(columns: Columns): void {
    this.length = 0;
    this.#columns.clear();
    this.#views.clear();
    this.#room = 0;
    this.#usual = 0;
    this.#add(columns);
    this.#changed(true);
  }

  /** What of these points comes after those there are. */
  append(columns: Columns): void {
    const before = this.length;
    this.#add(columns);
    if (this.length !== before) this.#changed(before === 0);
  }

  /** These points in place of those of the same part of the run: a finer view of it. */
  refine(columns: Columns): void {
    const steps = columns.step ?? [];
    const [first, last] = [steps[0], steps.at(-1)];
    if (first == null || last == null) return;
    const known = this.column("step") ?? new Float64Array();
    const from = lowerBound(known, first);
    const to = lowerBound(known, last + 0.5);
    const names = new Set([...this.names, ...Object.keys(columns)]);
    names.delete("elapsed");
    const gaps = new Array<null>(steps.length).fill(null);
    const merged: Columns = {};
    for (const name of names) {
      const column = this.column(name) ?? new Float64Array(this.length).fill(Number.NaN);
      const old = (start: number, end: number) =>
        Array.from(column.subarray(start, end), (value) => (Number.isNaN(value) ? null : value));
      merged[name] = [...old(0, from), ...(columns[name] ?? gaps), ...old(to, this.length)];
    }
    this.replace(merged);
  }

  /** Whether points go back behind what is known: the run went on from a checkpoint, and wrote them anew. */
  goesBack(columns: Columns): boolean {
    const first = columns.step?.[0];
    return first != null && this.length > 0 && first <= this.lastStep;
  }

  #add(columns: Columns): void {
    const steps = columns.step ?? [];
    const last = this.length > 0 ? this.lastStep : Number.NEGATIVE_INFINITY;
    let from = 0;
    while (from < steps.length && (steps[from] ?? 0) <= last) from++;
    const count = steps.length - from;
    if (count === 0) return;
    this.#reserve(this.length + count);
    for (const name of Object.keys(columns)) this.#ensure(name);
    const elapsed = this.#ensure("elapsed");
    for (const [name, target] of this.#columns) {
      if (target === elapsed) continue;
      const source = columns[name];
      for (let index = 0; index < count; index++)
        target[this.length + index] = source?.[from + index] ?? Number.NaN;
    }
    this.#time(elapsed, count);
    this.length += count;
  }

  /** Seconds since the first point, without pauses. */
  #time(elapsed: Float64Array, count: number): void {
    const times = this.#columns.get("time");
    if (!times) return;
    for (let index = this.length; index < this.length + count; index++) {
      if (index === 0) {
        elapsed[0] = 0;
        continue;
      }
      const passed = Math.max(0, (times[index] as number) - (times[index - 1] as number));
      const pause = this.#usual > 0 && passed > Math.max(SHORTEST_PAUSE, PAUSE * this.#usual);
      if (!pause && passed > 0) this.#usual = this.#usual === 0 ? passed : 0.9 * this.#usual + 0.1 * passed;
      elapsed[index] = (elapsed[index - 1] as number) + (pause ? this.#usual : passed);
    }
  }

  #ensure(name: string): Float64Array {
    let column = this.#columns.get(name);
    if (!column) {
      column = new Float64Array(this.#room).fill(Number.NaN);
      this.#columns.set(name, column);
    }
    return column;
  }

  #reserve(wanted: number): void {
    if (wanted <= this.#room) return;
    this.#room = Math.max(wanted, 2 * this.#room, 1024);
    this.#views.clear();
    for (const [name, column] of this.#columns) {
      const larger = new Float64Array(this.#room).fill(Number.NaN);
      larger.set(column);
      this.#columns.set(name, larger);
    }
  }

  #changed(anew: boolean): void {
    this.version++;
    for (const watcher of this.#watchers) watcher(anew);
  }
}
