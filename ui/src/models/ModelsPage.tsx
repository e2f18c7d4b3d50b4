import { Link, useNavigate } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { api, body } from "@/api/client";
import { JobCell } from "@/jobs/JobState";
import { Button, Bytes, type Column, Empty, ListPage, Num, RelativeTime, useUrlState } from "@/kit";
import { AddModel } from "./AddModel";
import { type Model, ModelFacts } from "./ModelFacts";

const COLUMNS: Column<Model>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(180px, 2fr)",
    sort: "name",
    cell: (model) => (
      <Link to="/models/$id" params={{ id: model.id }} className="font-medium hover:underline">
        {model.name}
      </Link>
    ),
  },
  {
    id: "state",
    header: "State",
    width: "minmax(150px, 1fr)",
    cell: (model) => <JobCell job={model.job} ready={model.ready} />,
  },
  {
    id: "architecture",
    header: "Architecture",
    width: "minmax(120px, 1fr)",
    cell: (model) => model.architecture ?? "–",
  },
  {
    id: "layers",
    header: "Layers",
    width: "70px",
    align: "right",
    cell: (model) => <Num value={model.n_layers} />,
  },
  {
    id: "d_model",
    header: "Width",
    width: "80px",
    align: "right",
    hint: "Width of the residual stream (d_model)",
    cell: (model) => <Num value={model.d_model} />,
  },
  {
    id: "parameters",
    header: "Parameters",
    width: "100px",
    align: "right",
    sort: "parameters",
    cell: (model) => <Num value={model.parameters} />,
  },
  {
    id: "bytes",
    header: "On disk",
    width: "90px",
    align: "right",
    sort: "bytes",
    cell: (model) => <Bytes value={model.bytes} />,
  },
  {
    id: "created",
    header: "Added",
    width: "110px",
    sort: "created_at",
    descendingFirst: true,
    cell: (model) => <RelativeTime at={model.created_at} />,
  },
];

export function ModelsPage() {
  const navigate = useNavigate();
  const [adding, setAdding] = useUrlState("add", false);
  const add = (
    <Button look="primary" icon={<Plus size={15} />} onClick={() => setAdding(true)}>
      Add model
    </Button>
  );
  return (
    <>
      <ListPage
        title="Models"
        name="models"
        fetch={(query, signal) => body(api.GET("/api/v1/models", { params: { query }, signal }))}
        columns={COLUMNS}
        onOpen={(model) => void navigate({ to: "/models/$id", params: { id: model.id } })}
        preview={(model) => ({ title: model.name, content: <ModelFacts model={model} /> })}
        actions={add}
        empty={
          <Empty title="No models yet" action={add}>
            A model gives the activations that everything here is about. Add one from the Hugging Face hub,
            from a folder with safetensors weights, or from a GGUF file.
          </Empty>
        }
      />
      <AddModel open={adding} onClose={() => setAdding(false)} />
    </>
  );
}
