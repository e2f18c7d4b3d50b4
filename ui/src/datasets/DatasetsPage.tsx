import { Link, useNavigate } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { api, body } from "@/api/client";
import { JobCell } from "@/jobs/JobState";
import { Button, Bytes, type Column, Empty, ListPage, Num, RelativeTime, useUrlState } from "@/kit";
import { AddDataset } from "./AddDataset";
import { type Dataset, DatasetFacts, sourceWords } from "./DatasetFacts";

const COLUMNS: Column<Dataset>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(180px, 2fr)",
    sort: "name",
    cell: (dataset) => (
      <Link to="/datasets/$id" params={{ id: dataset.id }} className="font-medium hover:underline">
        {dataset.name}
      </Link>
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
    cell: (dataset) => <span className="text-muted">{sourceWords(dataset.source)}</span>,
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
    cell: (dataset) => <Bytes value={dataset.bytes} />,
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

export function DatasetsPage() {
  const navigate = useNavigate();
  const [adding, setAdding] = useUrlState("add", false);
  const add = (
    <Button look="primary" icon={<Plus size={15} />} onClick={() => setAdding(true)}>
      Add data set
    </Button>
  );
  return (
    <>
      <ListPage
        title="Data sets"
        name="datasets"
        fetch={(query, signal) => body(api.GET("/api/v1/datasets", { params: { query }, signal }))}
        columns={COLUMNS}
        onOpen={(dataset) => void navigate({ to: "/datasets/$id", params: { id: dataset.id } })}
        preview={(dataset) => ({ title: dataset.name, content: <DatasetFacts dataset={dataset} /> })}
        actions={add}
        empty={
          <Empty title="No data sets yet" action={add}>
            Text is where everything begins. Upload a text, JSONL, CSV or Parquet file, or take a data set
            from the Hugging Face hub.
          </Empty>
        }
      />
      <AddDataset open={adding} onClose={() => setAdding(false)} />
    </>
  );
}
