import { useQuery } from "@tanstack/react-query";
import { Link, Navigate, useParams } from "@tanstack/react-router";
import { api, body } from "@/api/client";
import { JobCell } from "@/jobs/JobState";
import { isActive, useJob } from "@/jobs/live";
import { type Column, DataTable, ErrorNote, Num, PageHeader, SkeletonLines, Tabs } from "@/kit";
import { useRows } from "@/kit/rows";
import { type Training, useTrainingForm } from "./form";
import { RunCurves } from "./RunCurves";

const COLUMNS: Column<Training>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(240px, 3fr)",
    cell: (training) => (
      <Link to="/trainings/$id" params={{ id: training.id }} className="font-medium hover:underline">
        {training.name}
      </Link>
    ),
  },
  {
    id: "fvu",
    header: "FVU",
    width: "100px",
    cell: (training) => <Num value={training.last_metrics?.fvu} />,
  },
  { id: "l0", header: "L0", width: "100px", cell: (training) => <Num value={training.last_metrics?.l0} /> },
];

/** The trainings of one pass over the activations; a training that is alone has its own page. */
export function SweepPage() {
  const { id } = useParams({ from: "/sweeps/$id" });
  const { data, error, refetch } = useQuery({
    queryKey: ["trainings", "sweep", id],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/sweeps/{sweep_id}", { params: { path: { sweep_id: id } }, signal })),
  });
  const rows = useRows(data?.trainings);
  const form = useTrainingForm();
  const job = useJob(data?.job);
  const only = data?.trainings.length === 1 ? data.trainings[0] : undefined;
  if (only) return <Navigate to="/trainings/$id" params={{ id: only.id }} replace />;
  return (
    <>
      <PageHeader
        crumbs={[{ label: "Training", to: "/trainings" }]}
        title={data?.name ?? "Training"}
        state={data?.job && <JobCell job={data.job} done />}
      />
      {error ? (
        <div className="p-5">
          <ErrorNote error={error} onRetry={() => void refetch()} />
        </div>
      ) : data ? (
        <Tabs
          label="Sweep"
          tabs={[
            {
              id: "curves",
              label: "Curves",
              content: () => (
                <RunCurves runs={data.trainings} metrics={form?.metrics} active={isActive(job)} />
              ),
            },
            {
              id: "trainings",
              label: "Trainings",
              count: data.trainings.length,
              content: () => (
                <DataTable
                  label="Trainings"
                  columns={COLUMNS}
                  source={rows}
                  id={(training) => training.id}
                  empty={null}
                />
              ),
            },
          ]}
        />
      ) : (
        <div className="p-5">
          <SkeletonLines lines={6} />
        </div>
      )}
    </>
  );
}
