/** Every job that we know of, kept fresh by the channel `jobs`: what any page shows of a job comes from here. */
import { useMemo, useSyncExternalStore } from "react";
import { queryClient } from "@/api/client";
import type { components } from "@/api/schema";
import { live } from "@/api/socket";

export type Job = components["schemas"]["JobOut"];

const FINAL = new Set(["succeeded", "failed", "cancelled"]);

export const isActive = (job: Job | null | undefined): boolean => job != null && !FINAL.has(job.state);

/** Whether it may leave its work for now and go on with it later. */
export const canPause = (job: Job): boolean =>
  job.resumable && (job.state === "running" || job.state === "queued");

let jobs: ReadonlyMap<string, Job> = new Map();
const watchers = new Set<() => void>();
const endings = new Set<(job: Job) => void>();

/** Called once for each job that ends while we watch. */
export function onJobEnd(listener: (job: Job) => void): () => void {
  endings.add(listener);
  return () => endings.delete(listener);
}

/** The event and the row of a list can arrive in either order; the later attempt and the final state win. */
export function fresher(one: Job, other: Job): Job {
  if (one.attempt !== other.attempt) return one.attempt > other.attempt ? one : other;
  if (isActive(one) !== isActive(other)) return isActive(one) ? other : one;
  return one;
}

function keep(incoming: Job[], { replaceActive = false } = {}): void {
  const next = new Map(replaceActive ? [...jobs].filter(([, job]) => !isActive(job)) : jobs);
  for (const job of incoming) {
    const before = jobs.get(job.id);
    // Events come in order, so the newer one simply replaces; a retried job is active again with a higher attempt.
    next.set(job.id, job);
    const ended = !isActive(job) && (before ? isActive(before) || before.attempt < job.attempt : false);
    if (ended || (before && before.state !== job.state)) {
      const [table = ""] = job.subject.split("/");
      // What was being made is there now (or gone): its lists and pages are read again.
      void queryClient.invalidateQueries({ queryKey: [table] });
      if (table === "sweeps") void queryClient.invalidateQueries({ queryKey: ["trainings"] });
      void queryClient.invalidateQueries({ queryKey: ["jobs"] });
    } else if (!before) void queryClient.invalidateQueries({ queryKey: ["jobs"] });
    if (ended) for (const listener of endings) listener(job);
  }
  jobs = next;
  for (const watcher of watchers) watcher();
}

let started = false;

/** Begin to follow; the shell does so once. */
export function startJobs(): void {
  if (started) return;
  started = true;
  live.follow("jobs", {
    onSnapshot: (snapshot) => keep((snapshot as { jobs: Job[] }).jobs, { replaceActive: true }),
    onEvent: (event) => {
      if (event.type === "job") keep([event.data as Job]);
    },
  });
}

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

/** The freshest that is known of a job that came embedded in something else. */
export function useJob(embedded: Job | null | undefined): Job | null {
  const known = useSyncExternalStore(watch, () => (embedded ? jobs.get(embedded.id) : undefined));
  if (!embedded) return null;
  return known ? fresher(known, embedded) : embedded;
}

/** Jobs that are queued, running or otherwise not at their end; the one nearest to done first. */
export function useActiveJobs(): Job[] {
  const all = useSyncExternalStore(watch, () => jobs);
  return useMemo(
    () =>
      [...all.values()]
        .filter(isActive)
        .sort((one, other) => rank(one) - rank(other) || one.created_at.localeCompare(other.created_at)),
    [all],
  );
}

function rank(job: Job): number {
  if (job.state === "queued") return 1e12;
  return job.seconds_left ?? 1e9;
}
