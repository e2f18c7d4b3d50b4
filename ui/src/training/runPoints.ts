/** The points of runs, each fetched once and continued by events, for whatever shows them. */
import { useEffect, useMemo, useSyncExternalStore } from "react";
import { api, body } from "@/api/client";
import { live } from "@/api/socket";
import { type Columns, PointLog } from "@/kit/chart/pointLog";

/** Points that a curve is drawn from; a finer view is fetched where one zooms in. */
const POINTS = 3000;
/** Beyond so many points the server thins them out again. */
const LIMIT = 24_000;
/** How long the first fetch waits to join the run's channel, so that no point falls between the two. */
const JOIN_MILLISECONDS = 150;

/** A setting that was changed while the run trained. */
export interface Change {
  step: number;
  /** Seconds since 1970. */
  time: number;
  name: string;
  /** What the setting is called. */
  title: string;
  before: number;
  after: number;
}

export class RunPoints {
  readonly log = new PointLog();
  pending = true;
  error: Error | null = null;
  changes: Change[] = [];
  /** Points that the server has, thinned out or not. */
  total = 0;
  #followers = 0;
  #leave: (() => void) | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #fetching = false;
  #again = false;
  #early: Columns[] = [];
  #seen = "";
  readonly #watchers = new Set<() => void>();

  constructor(readonly id: string) {
    this.log.watch(() => this.#told());
  }

  /** Changes with what a page shows besides the points: whether there are any, of which columns. */
  get look(): string {
    return `${this.pending} ${this.error?.message} ${this.log.length > 0} ${this.log.names.join()} ${this.changes.length}`;
  }

  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  follow(): () => void {
    if (this.#followers++ === 0) this.#start();
    return () => {
      if (--this.#followers > 0) return;
      // A page that is left and entered again at once keeps what it knows.
      setTimeout(() => {
        if (this.#followers > 0) return;
        this.#leave?.();
        this.#leave = null;
        clearTimeout(this.#timer);
        known.delete(this.id);
      }, 2000);
    };
  }

  /** Read all points anew. */
  fetch = async (): Promise<void> => {
    if (this.#fetching) {
      this.#again = true;
      return;
    }
    this.#fetching = true;
    clearTimeout(this.#timer);
    try {
      const found = await this.#read({ max_points: POINTS });
      this.total = found.total_points;
      this.changes = found.changes;
      this.error = null;
      this.log.replace(found.columns);
    } catch (error) {
      this.error = error as Error;
    } finally {
      this.pending = false;
      this.#fetching = false;
      const early = this.#early;
      this.#early = [];
      for (const columns of early) this.log.append(columns);
      this.#told();
      if (this.#again) {
        this.#again = false;
        void this.fetch();
      }
    }
  };

  /** Fetch the points of a part of the run as finely as they are drawn. */
  async refine(afterStep: number, upToStep: number): Promise<void> {
    const steps = this.log.column("step");
    if (!steps || this.total <= this.log.length) return;
    const found = await this.#read({
      max_points: POINTS,
      after_step: Math.max(0, Math.floor(afterStep)),
      up_to_step: Math.max(0, Math.ceil(upToStep)),
    });
    this.log.refine(found.columns);
  }

  async #read(query: { max_points: number; after_step?: number; up_to_step?: number }) {
    return (await body(
      api.GET("/api/v1/trainings/{training_id}/metrics", {
        params: { path: { training_id: this.id }, query },
      }),
    )) as { columns: Columns; total_points: number; last_step: number; changes: Change[] };
  }

  #start(): void {
    if (this.#leave) return;
    this.#timer = setTimeout(() => void this.fetch(), JOIN_MILLISECONDS);
    this.#leave = live.follow(`trainings/${this.id}`, {
      // Also after events were missed, and at each poll that saw a change while the socket is down.
      onSnapshot: () => void this.fetch(),
      onEvent: (event) => {
        if (event.type === "changed") void this.fetch();
        if (event.type === "change") {
          this.changes = [...this.changes, event.data as Change];
          this.#told();
        }
        if (event.type !== "metrics") return;
        const { columns } = event.data as { columns: Columns };
        this.total += columns.step?.length ?? 0;
        if (this.#fetching || this.pending) this.#early.push(columns);
        else if (this.log.goesBack(columns) || this.log.length > LIMIT) void this.fetch();
        else this.log.append(columns);
      },
    });
  }

  #told(): void {
    if (this.#seen === this.look) return;
    this.#seen = this.look;
    for (const watcher of this.#watchers) watcher();
  }
}

const known = new Map<string, RunPoints>();

/** The points of these runs while the caller is mounted; it renders again when there is more to show than new points. */
export function useRunPoints(ids: string[]): RunPoints[] {
  const key = ids.join(" ");
  const runs = useMemo(
    () =>
      key
        .split(" ")
        .filter(Boolean)
        .map((id) => {
          const run = known.get(id) ?? new RunPoints(id);
          known.set(id, run);
          return run;
        }),
    [key],
  );
  useEffect(() => {
    const leave = runs.map((run) => {
      known.set(run.id, run);
      return run.follow();
    });
    return () => {
      for (const one of leave) one();
    };
  }, [runs]);
  useSyncExternalStore(
    useMemo(
      () => (watcher: () => void) => {
        const forget = runs.map((run) => run.watch(watcher));
        return () => {
          for (const one of forget) one();
        };
      },
      [runs],
    ),
    () => runs.map((run) => run.look).join("\n"),
  );
  return runs;
}
