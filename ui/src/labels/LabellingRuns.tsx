import { useQuery } from "@tanstack/react-query";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useRefetchOn } from "@/api/useChannel";
import { JobActions } from "@/jobs/JobActions";
import { JobCell } from "@/jobs/JobState";
import { useJob } from "@/jobs/live";
import {
  Code,
  type Column,
  DataTable,
  Empty,
  Facts,
  Num,
  ProgressBar,
  RelativeTime,
  Section,
  SettingFacts,
  SidePanel,
  useKeys,
  usePages,
  useUrlState,
} from "@/kit";

type Run = components["schemas"]["LabellingRunOut"];

const COLUMNS: Column<Run>[] = [
  {
    id: "source",
    header: "Source",
    width: "minmax(116px, 1fr)",
    sort: "source",
    cell: (run) => <span className="font-medium">{run.source}</span>,
  },
  {
    id: "state",
    header: "State",
    width: "minmax(110px, 1fr)",
    cell: (run) => <JobCell job={run.job} done />,
  },
  {
    id: "model",
    header: "Model",
    width: "minmax(80px, 1fr)",
    cell: (run) => run.request.model ?? <span className="text-faint">–</span>,
  },
  {
    id: "features",
    header: "Features",
    width: "78px",
    align: "right",
    cell: (run) => <Num value={run.n_features} />,
  },
  {
    id: "labels",
    header: "Labels given",
    width: "96px",
    align: "right",
    cell: (run) => <Num value={run.labels} />,
  },
  {
    id: "created",
    header: "Started",
    width: "110px",
    sort: "created_at",
    descendingFirst: true,
    cell: (run) => <RelativeTime at={run.created_at} />,
  },
];

/** Labelling runs of an extraction. */
export function LabellingRuns({ extractionId }: { extractionId: string }) {
  const [sort, setSort] = useUrlState("rsort", "-created_at");
  const [open, setOpen] = useUrlState("run", "");
  const [, setLabelling] = useUrlState("label", false);
  const source = usePages<Run>(["labelling_runs", "of", extractionId, sort], (offset, limit, signal) =>
    body(
      api.GET("/api/v1/extractions/{extraction_id}/labelling-runs", {
        params: { path: { extraction_id: extractionId }, query: { offset, limit, sort } },
        signal,
      }),
    ),
  );
  useRefetchOn("labelling_runs", ["labelling_runs"]);
  useKeys(
    "Side panel",
    [{ keys: "escape", label: "close the side panel", run: () => setOpen("") }],
    open !== "",
  );
  return (
    <div className="relative flex min-h-0 flex-1">
      <DataTable
        label="Labelling runs"
        columns={COLUMNS}
        source={source}
        id={(run) => run.id}
        sort={sort}
        onSort={setSort}
        onPreview={(run) => setOpen(run?.id ?? "")}
        previewed={open || null}
        empty={
          <Empty
            title="No labelling run yet"
            action={
              <button type="button" className="link" onClick={() => setLabelling(true)}>
                Label features
              </button>
            }
          >
            A run proposes labels for many features: by what sets their examples apart from other text (no
            model needed), by a local chat model, or by an endpoint. Each label is tested on examples that
            were held out.
          </Empty>
        }
      />
      {open && <RunPanel id={open} onClose={() => setOpen("")} />}
    </div>
  );
}

function RunPanel({ id, onClose }: { id: string; onClose: () => void }) {
  const { data: run } = useQuery({
    queryKey: ["labelling_runs", id],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/labelling-runs/{run_id}", { params: { path: { run_id: id } }, signal })),
  });
  useRefetchOn(`labelling_runs/${id}`, ["labelling_runs"]);
  const job = useJob(run?.job);
  if (!run) return null;
  const { scope, ...settings } = run.request;
  const result = job?.result as Record<string, unknown> | null | undefined;
  const { failures, ...outcome } = result ?? {};
  return (
    <SidePanel title="Labelling run" onClose={onClose} actions={job && <JobActions job={job} />}>
      <div className="flex flex-col gap-5">
        {job?.state === "running" ? (
          <ProgressBar progress={job} label={job.title} />
        ) : (
          <JobCell job={run.job} done />
        )}
        {job?.state === "failed" && job.error && (
          <p role="alert" className="text-failed">
            {job.error.message} {job.error.hint}
          </p>
        )}
        <Facts
          facts={[
            ["Id", <Code key="id">{run.id}</Code>],
            ["Source", run.source],
            ["Features", <Num key="features" value={run.n_features} />],
            ["Labels given", <Num key="labels" value={run.labels} />],
            ["Started", <RelativeTime key="created" at={run.created_at} />],
          ]}
        />
        {result && (
          <Section title="Outcome">
            <SettingFacts settings={outcome} />
            {Array.isArray(failures) && failures.length > 0 && (
              <ul className="mt-2 max-h-48 overflow-y-auto text-muted">
                {(failures as { index: number; reason: string }[]).map((one) => (
                  <li key={one.index}>
                    <span className="font-mono text-xs">#{one.index}</span> {one.reason}
                  </li>
                ))}
              </ul>
            )}
          </Section>
        )}
        <Section title="Which features">
          <SettingFacts settings={{ ...scope }} />
        </Section>
        <Section title="Settings">
          <SettingFacts settings={settings} />
        </Section>
      </div>
    </SidePanel>
  );
}
