import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { memo, type ReactNode, useEffect, useRef } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { ErrorNote, format, SearchField, SkeletonLines, tip, useUrlState } from "@/kit";
import { isActive, type Job, useJob } from "./live";

type LogPage = components["schemas"]["LogPage"];
type LogLine = components["schemas"]["LogLine"];
type Level = LogLine["level"];

const MOST = 2000;
const LEVELS: [level: Level, words: string][] = [
  ["debug", "All lines"],
  ["info", "Info and above"],
  ["warning", "Warnings and errors"],
  ["error", "Errors"],
];
const LOOKS: Record<Level, string> = {
  debug: "text-faint",
  info: "text-muted",
  warning: "text-warning font-medium",
  error: "text-failed font-medium",
  critical: "text-failed font-medium",
};

/** The job's own log: by level, searched, and followed while it runs. */
export function JobLog({ job: embedded }: { job: Job }) {
  const job = useJob(embedded) ?? embedded;
  const [chosen, setLevel] = useUrlState("loglevel", "debug");
  const level = LEVELS.find(([name]) => name === chosen)?.[0] ?? "debug";
  const [search, setSearch] = useUrlState("logq", "");
  const [follow, setFollow] = useUrlState("logend", true);
  const box = useRef<HTMLDivElement>(null);
  const log = useLines(job, level, search);
  const lines = log.data?.lines;
  // biome-ignore lint/correctness/useExhaustiveDependencies: scrolls when lines arrive.
  useEffect(() => {
    if (follow) box.current?.scrollTo({ top: box.current.scrollHeight });
  }, [lines, follow]);
  return (
    <section aria-label="Log" className="flex min-h-64 min-w-0 flex-1 flex-col">
      <div className="flex min-h-11 shrink-0 flex-wrap items-center gap-x-3 gap-y-1 px-5 py-2">
        <SearchField label="Search the log" value={search} onChange={setSearch} />
        <select
          className="field w-auto"
          aria-label="Level"
          value={level}
          onChange={(event) => setLevel(event.target.value)}
        >
          {LEVELS.map(([name, words]) => (
            <option key={name} value={name}>
              {words}
            </option>
          ))}
        </select>
        <span role="status" className="text-xs text-muted">
          {log.data && countWords(log.data, level !== "debug" || search !== "")}
        </span>
        <span className="flex-1" />
        <label className="flex items-center gap-1.5 text-muted">
          <input
            type="checkbox"
            className="accent-accent"
            checked={follow}
            onChange={(event) => setFollow(event.target.checked)}
          />
          Keep to the end
        </label>
        <a
          href={`/api/v1/jobs/${job.id}/log?download=true`}
          download
          className="inline-flex items-center gap-1.5 link"
        >
          <Download size={14} aria-hidden="true" />
          Download
        </a>
      </div>
      {log.error && (
        <div className="px-5 pb-2">
          <ErrorNote error={log.error} onRetry={() => void log.refetch()} />
        </div>
      )}
      <div
        ref={box}
        role="log"
        aria-live="off"
        aria-label="Lines of the log"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard.
        tabIndex={0}
        className="mx-5 mb-5 min-h-0 flex-1 overflow-auto rounded-[6px] border border-line bg-sunken py-2 font-mono text-xs leading-[18px]"
      >
        {!lines && !log.error && <SkeletonLines lines={5} />}
        {lines?.length === 0 && (
          <p className="px-3 font-sans text-muted">
            {log.data?.total ? "No line matches." : "Nothing has been written yet."}
          </p>
        )}
        {lines?.map((line) => (
          <Line key={line.number} line={line} search={search} />
        ))}
      </div>
    </section>
  );
}

/** The newest lines; while the job runs, only what was written since is read. */
function useLines(job: Job, level: Level, search: string) {
  const client = useQueryClient();
  const key = ["jobs", job.id, "log", level, search];
  const log = useQuery<LogPage>({
    queryKey: key,
    queryFn: async ({ signal }) => {
      const before = client.getQueryData<LogPage>(key);
      const query = { level, q: search, limit: MOST, cursor: before?.cursor ?? "" };
      const page = await body(
        api.GET("/api/v1/jobs/{job_id}/log/lines", {
          params: { path: { job_id: job.id }, query },
          signal,
        }),
      );
      if (!before) return page;
      if (page.total === before.total) return before;
      const lines = page.total < before.total ? page.lines : [...before.lines, ...page.lines].slice(-MOST);
      return {
        ...page,
        lines,
        matching: page.total < before.total ? page.matching : before.matching + page.matching,
      };
    },
    refetchInterval: isActive(job) ? 1000 : false,
    staleTime: 0,
    placeholderData: (before) => before,
  });
  // A job that ends writes its last lines just before.
  const { refetch } = log;
  // biome-ignore lint/correctness/useExhaustiveDependencies: reads again when the state changes.
  useEffect(() => {
    const timer = setTimeout(() => void refetch(), 300);
    return () => clearTimeout(timer);
  }, [job.state, job.attempt, refetch]);
  return log;
}

function countWords(page: LogPage, filtered: boolean): string {
  const shown = page.lines.length;
  const all = format.plural(page.total, "line");
  if (!filtered) return shown < page.total ? `The last ${format.figure(shown)} of ${all}` : all;
  const matching = `${format.figure(page.matching)} of ${all}`;
  return shown < page.matching ? `${matching}, the last ${format.figure(shown)} shown` : matching;
}

const Line = memo(function Line({ line, search }: { line: LogLine; search: string }) {
  if (line.attempt)
    return (
      <div className="mt-1 flex gap-3 border-t border-line px-3 pt-1 font-medium first:mt-0 first:border-0 first:pt-0">
        <Time at={line.at} />
        <span className="min-w-0 break-words">{marked(line.text, search)}</span>
      </div>
    );
  const washed = line.level === "error" || line.level === "critical" ? "bg-failed-wash" : "";
  return (
    <div className={`flex gap-3 px-3 [content-visibility:auto] hover:bg-hover ${washed}`}>
      <Time at={line.at} />
      <span
        className={`w-14 shrink-0 ${LOOKS[line.level]}`}
        {...tip(line.source && `Written by ${line.source}`)}
      >
        {line.source ? line.level : ""}
      </span>
      <span className="min-w-0 flex-1 break-words whitespace-pre-wrap">{marked(line.text, search)}</span>
    </div>
  );
});

function Time({ at }: { at?: string | null }) {
  return (
    <time className="shrink-0 text-faint" dateTime={at ?? undefined} {...tip(at && format.utc(new Date(at)))}>
      {at?.slice(11, 23) ?? ""}
    </time>
  );
}

/** The text with what was searched for marked. */
function marked(text: string, search: string): ReactNode {
  if (!search) return text;
  const pieces: ReactNode[] = [];
  const [lower, wanted] = [text.toLowerCase(), search.toLowerCase()];
  // Where lower case has another length, places would not fit.
  if (lower.length !== text.length) return text;
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    pieces.push(
      text.slice(from, at),
      <mark key={at} className="rounded-[2px] bg-heat text-ink">
        {text.slice(at, at + wanted.length)}
      </mark>,
    );
    from = at + wanted.length;
  }
  return pieces.length ? [...pieces, text.slice(from)] : text;
}
