import { useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Plus, Star } from "lucide-react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { JobCell } from "@/jobs/JobState";
import {
  Button,
  Bytes,
  type Column,
  Empty,
  format,
  ListPage,
  Num,
  RelativeTime,
  tip,
  useUrlState,
} from "@/kit";
import { AddDataset } from "./AddDataset";
import { BulkActions } from "./BulkActions";
import { type Dataset, DatasetFacts, onDisk, sourceWords } from "./DatasetFacts";
import { useSummary } from "./useSummary";

const KINDS: Record<string, string> = {
  hub: "hub",
  upload: "upload",
  file: "file on the server",
  folder: "folder on the server",
};

function columns(star: (dataset: Dataset) => void): Column<Dataset>[] {
  return [
    {
      id: "favourite",
      header: "★",
      hint: "Favourites",
      width: "40px",
      sort: "favourite",
      descendingFirst: true,
      cell: (dataset) => (
        <button
          type="button"
          aria-label={dataset.favourite ? `Take the star from ${dataset.name}` : `Star ${dataset.name}`}
          aria-pressed={dataset.favourite}
          onClick={() => star(dataset)}
          className={`flex size-6 items-center justify-center rounded-[4px] hover:bg-hover ${dataset.favourite ? "text-warning" : "text-faint"}`}
        >
          <Star size={13} fill={dataset.favourite ? "currentColor" : "none"} />
        </button>
      ),
    },
    {
      id: "name",
      header: "Name",
      width: "minmax(200px, 2fr)",
      sort: "name",
      cell: (dataset) => (
        <span className="flex min-w-0 items-center gap-2">
          <Link
            to="/datasets/$id"
            params={{ id: dataset.id }}
            className="truncate font-medium hover:underline"
          >
            {dataset.name}
          </Link>
          {dataset.tags.slice(0, 3).map((tag) => (
            <span key={tag} className="shrink-0 rounded-[4px] bg-accent-wash px-1.5 text-2xs">
              {tag}
            </span>
          ))}
          {dataset.tags.length > 3 && <span className="text-2xs text-muted">+{dataset.tags.length - 3}</span>}
        </span>
      ),
    },
    {
      id: "state",
      header: "State",
      width: "minmax(150px, 1fr)",
      cell: (dataset) => <JobCell job={dataset.job} ready={dataset.ready} />,
    },
    {
      id: "source",
      header: "Source",
      width: "minmax(140px, 1.5fr)",
      sort: "kind",
      cell: (dataset) => (
        <span className="text-muted" {...tip(sourceWords(dataset.source))}>
          {sourceWords(dataset.source, true)}
        </span>
      ),
    },
    {
      id: "rows",
      header: "Rows",
      width: "90px",
      align: "right",
      sort: "rows",
      cell: (dataset) => <Num value={dataset.rows} />,
    },
    {
      id: "bytes",
      header: "On disk",
      width: "90px",
      align: "right",
      sort: "bytes",
      hint: "Rows, composed columns, statistics and search index",
      cell: (dataset) => <Bytes value={onDisk(dataset)} />,
    },
    {
      id: "tokenizations",
      header: "Tokenizations",
      width: "110px",
      align: "right",
      cell: (dataset) => <Num value={dataset.tokenization_count} />,
    },
    {
      id: "created",
      header: "Added",
      width: "110px",
      sort: "created_at",
      descendingFirst: true,
      cell: (dataset) => <RelativeTime at={dataset.created_at} />,
    },
  ];
}

export function DatasetsPage() {
  const navigate = useNavigate();
  const client = useQueryClient();
  const summary = useSummary();
  const [adding, setAdding] = useUrlState("add", false);
  const [kind, setKind] = useUrlState("kind", "");
  const [status, setStatus] = useUrlState("status", "");
  const [tag, setTag] = useUrlState("tag", "");
  const [starred, setStarred] = useUrlState("starred", false);
  const add = (
    <Button look="primary" icon={<Plus size={15} />} onClick={() => setAdding(true)}>
      Add data set
    </Button>
  );
  const star = async (dataset: Dataset) => {
    try {
      await api.PATCH("/api/v1/datasets/{dataset_id}", {
        params: { path: { dataset_id: dataset.id } },
        body: { favourite: !dataset.favourite },
      });
      await client.invalidateQueries({ queryKey: ["datasets"] });
    } catch (error) {
      toast.error(Problem.from(error).detail);
    }
  };
  const filtering = kind !== "" || status !== "" || tag !== "" || starred;
  const clear = () => {
    setKind("");
    setStatus("");
    setTag("");
    setStarred(false);
  };
  return (
    <>
      <ListPage
        title="Data sets"
        name="datasets"
        filterKey={[kind, status, tag, starred]}
        fetch={(query, signal) =>
          body(
            api.GET("/api/v1/datasets", {
              params: {
                query: {
                  ...query,
                  kind: kind ? [kind as "hub"] : undefined,
                  status: status ? [status as "ready"] : undefined,
                  tag: tag ? [tag] : undefined,
                  favourite: starred || undefined,
                },
              },
              signal,
            }),
          )
        }
        columns={columns((dataset) => void star(dataset))}
        onOpen={(dataset) => void navigate({ to: "/datasets/$id", params: { id: dataset.id } })}
        preview={(dataset) => ({ title: dataset.name, content: <DatasetFacts dataset={dataset} /> })}
        bulk={(rows, done) => <BulkActions datasets={rows} onDone={done} />}
        actions={
          <>
            {summary && summary.count > 0 && (
              <span className="text-muted">{format.bytes(summary.bytes)} on disk</span>
            )}
            {add}
          </>
        }
        filters={
          <div className="flex min-w-0 items-center gap-2 overflow-x-auto p-0.5 max-sm:basis-1/2">
            <Filter label="Source" value={kind} onChange={setKind} counts={summary?.kinds} words={KINDS} />
            <Filter label="Status" value={status} onChange={setStatus} counts={summary?.statuses} />
            {(tag !== "" || (summary?.tags.length ?? 0) > 0) && (
              <Filter label="Tag" value={tag} onChange={setTag} counts={summary?.tags} />
            )}
            <Button
              look={starred ? "plain" : "quiet"}
              aria-pressed={starred}
              icon={<Star size={13} fill={starred ? "currentColor" : "none"} />}
              onClick={() => setStarred(!starred)}
            >
              Favourites
            </Button>
            {filtering && (
              <Button look="quiet" onClick={clear}>
                Clear
              </Button>
            )}
          </div>
        }
        empty={
          filtering ? (
            <Empty
              title="No data set fits these filters"
              action={<Button onClick={clear}>Clear filters</Button>}
            />
          ) : (
            <Empty title="No data sets yet" action={add}>
              Text is where everything begins. Upload a text, JSONL, CSV or Parquet file, or take a data set
              from the Hugging Face hub.
            </Empty>
          )
        }
      />
      <AddDataset open={adding} onClose={() => setAdding(false)} />
    </>
  );
}

function Filter({
  label,
  value,
  onChange,
  counts = [],
  words = {},
}: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  counts?: { value: string; count: number }[];
  words?: Record<string, string>;
}) {
  const known = counts.some((one) => one.value === value) || value === "";
  return (
    <select
      aria-label={label}
      className={`field w-auto max-w-44 shrink-0 ${value ? "font-medium" : "text-muted"}`}
      value={value}
      onChange={(event) => onChange(event.target.value)}
    >
      <option value="">{label}: any</option>
      {!known && <option value={value}>{words[value] ?? value}</option>}
      {counts.map((one) => (
        <option key={one.value} value={one.value}>
          {words[one.value] ?? one.value} ({one.count})
        </option>
      ))}
    </select>
  );
}
