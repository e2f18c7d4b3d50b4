import { useQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { api, body } from "@/api/client";
import { ErrorNote } from "@/kit";
import { isActive, type Job, useJob } from "./live";

const TAIL = 5000;

/** The job's own log, followed while it runs. */
export function JobLog({ job: embedded }: { job: Job }) {
  const job = useJob(embedded) ?? embedded;
  const active = isActive(job);
  const [follow, setFollow] = useState(true);
  const box = useRef<HTMLPreElement>(null);
  const log = useQuery({
    // A job that ends writes its last lines just before: the key changes with the state, so they are read.
    queryKey: ["jobs", job.id, "log", job.attempt, job.state],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/jobs/{job_id}/log", {
          params: { path: { job_id: job.id }, query: { tail: TAIL } },
          parseAs: "text",
          signal,
        }),
      ),
    refetchInterval: active ? 2000 : false,
    placeholderData: (before) => before,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: scrolls when lines arrive.
  useEffect(() => {
    if (follow) box.current?.scrollTo({ top: box.current.scrollHeight });
  }, [log.data, follow]);
  return (
    <section aria-label="Log" className="flex min-h-64 min-w-0 flex-1 flex-col">
      <div className="flex h-10 shrink-0 items-center gap-3 px-5">
        <h2 className="flex-1 font-semibold">Log</h2>
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
      {log.error ? (
        <div className="px-5">
          <ErrorNote error={log.error} onRetry={() => void log.refetch()} />
        </div>
      ) : (
        <pre
          ref={box}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard.
          tabIndex={0}
          className="mx-5 mb-5 min-h-0 flex-1 overflow-auto rounded-[6px] border border-line bg-sunken p-3 leading-[18px] break-words whitespace-pre-wrap"
        >
          {log.data || (log.isPending ? "" : "Nothing has been written yet.")}
        </pre>
      )}
    </section>
  );
}
