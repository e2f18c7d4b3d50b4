import { Link, useNavigate } from "@tanstack/react-router";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { type Column, Empty, format, ListPage, RelativeTime, useUrlState } from "@/kit";
import { JobActions } from "./JobActions";
import { JobDetail } from "./JobDetail";
import { JobCell } from "./JobState";
import { type Job, useJob } from "./live";

type State = components["schemas"]["JobOut"]["state"];

const FILTERS: Record<string, State[] | undefined> = {
  all: undefined,
  active: ["queued", "running", "cancelling", "paused"],
  failed: ["failed"],
  done: ["succeeded"],
  cancelled: ["cancelled"],
};

function Took({ job: embedded }: { job: Job }) {
  const job = useJob(embedded) ?? embedded;
  if (!job.started_at) return <span className="text-faint">–</span>;
  const end = job.finished_at ? format.parseTime(job.finished_at) : new Date();
  return <>{format.duration((end.getTime() - format.parseTime(job.started_at).getTime()) / 1000)}</>;
}

const COLUMNS: Column<Job>[] = [
  {
    id: "title",
    header: "Job",
    width: "minmax(220px, 2fr)",
    sort: "title",
    cell: (job) => (
      <Link to="/jobs/$id" params={{ id: job.id }} className="font-medium hover:underline">
        {job.title}
      </Link>
    ),
  },
  {
    id: "state",
    header: "State",
    width: "minmax(150px, 1fr)",
    sort: "state",
    cell: (job) => <JobCell job={job} done />,
  },
  {
    id: "kind",
    header: "Kind",
    width: "minmax(130px, 1fr)",
    sort: "kind",
    cell: (job) => <code>{job.kind}</code>,
  },
  {
    id: "priority",
    header: "Priority",
    width: "80px",
    align: "right",
    sort: "priority",
    descendingFirst: true,
    hint: "Higher runs first; what waits can be moved in the panel at the right",
    cell: (job) => job.priority,
  },
  { id: "attempt", header: "Attempt", width: "80px", align: "right", cell: (job) => job.attempt },
  { id: "took", header: "Took", width: "110px", align: "right", cell: (job) => <Took job={job} /> },
  {
    id: "created",
    header: "Asked for",
    width: "120px",
    sort: "created_at",
    descendingFirst: true,
    cell: (job) => <RelativeTime at={job.created_at} />,
  },
];

export function JobsPage() {
  const navigate = useNavigate();
  const [filter, setFilter] = useUrlState("state", "all");
  return (
    <ListPage<Job>
      title="Jobs"
      name="jobs"
      filterKey={[filter]}
      fetch={(query, signal) =>
        body(api.GET("/api/v1/jobs", { params: { query: { ...query, state: FILTERS[filter] } }, signal }))
      }
      columns={COLUMNS}
      onOpen={(job) => void navigate({ to: "/jobs/$id", params: { id: job.id } })}
      preview={(job) => ({
        title: job.title,
        actions: <JobActions job={job} />,
        content: <JobDetail job={job} linked />,
      })}
      filters={
        <select
          aria-label="State"
          className="field w-auto"
          value={filter}
          onChange={(event) => setFilter(event.target.value)}
        >
          {Object.keys(FILTERS).map((name) => (
            <option key={name} value={name}>
              {name === "all" ? "any state" : name}
            </option>
          ))}
        </select>
      }
      empty={
        <Empty title={filter === "all" ? "No jobs yet" : `No ${filter} jobs`}>
          Everything that takes longer than a moment is a job: imports, tokenizations, harvests, trainings.
        </Empty>
      }
    />
  );
}
