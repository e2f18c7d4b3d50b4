import { Link, useNavigate } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { api, body } from "@/api/client";
import { JobCell } from "@/jobs/JobState";
import { Button, Bytes, type Column, Empty, ListPage, Num, RelativeTime, useUrlState } from "@/kit";
import { architectureName } from "./architectures";
import { ImportSae } from "./ImportSae";
import { type Sae, SaeFacts } from "./SaeFacts";

const COLUMNS: Column<Sae>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(200px, 2fr)",
    sort: "name",
    cell: (sae) => (
      <Link to="/saes/$id" params={{ id: sae.id }} className="font-medium hover:underline">
        {sae.name}
      </Link>
    ),
  },
  {
    id: "state",
    header: "State",
    width: "minmax(110px, 0.7fr)",
    cell: (sae) => <JobCell job={sae.job} ready={sae.ready} />,
  },
  { id: "model", header: "Model", width: "minmax(110px, 1fr)", cell: (sae) => sae.model_name ?? "–" },
  {
    id: "hook",
    header: "Hook point",
    width: "minmax(150px, 1fr)",
    sort: "hook",
    cell: (sae) => <code>{sae.hook ?? "–"}</code>,
  },
  {
    id: "architecture",
    header: "Architecture",
    width: "96px",
    cell: (sae) => architectureName(sae.architecture),
  },
  {
    id: "d_sae",
    header: "Latents",
    width: "76px",
    align: "right",
    sort: "d_sae",
    cell: (sae) => <Num value={sae.d_sae} />,
  },
  {
    id: "fvu",
    header: "FVU",
    width: "72px",
    align: "right",
    hint: "Fraction of variance unexplained, on held-out tokens where there were any",
    cell: (sae) => <Num value={sae.metrics.fvu} />,
  },
  {
    id: "l0",
    header: "L0",
    width: "64px",
    align: "right",
    hint: "Active latents per token",
    cell: (sae) => <Num value={sae.metrics.l0} />,
  },
  {
    id: "features",
    header: "Extractions",
    width: "84px",
    align: "right",
    hint: "How often its features were extracted",
    cell: (sae) => <Num value={sae.extraction_count} />,
  },
  {
    id: "bytes",
    header: "On disk",
    width: "82px",
    align: "right",
    sort: "bytes",
    cell: (sae) => <Bytes value={sae.bytes} />,
  },
  {
    id: "created",
    header: "Added",
    width: "104px",
    sort: "created_at",
    descendingFirst: true,
    cell: (sae) => <RelativeTime at={sae.created_at} />,
  },
];

export function SaesPage() {
  const navigate = useNavigate();
  const [adding, setAdding] = useUrlState("add", false);
  const add = (
    <Button look="primary" icon={<Plus size={15} />} onClick={() => setAdding(true)}>
      Import SAE
    </Button>
  );
  return (
    <>
      <ListPage
        title="SAEs"
        name="saes"
        fetch={(query, signal) => body(api.GET("/api/v1/saes", { params: { query }, signal }))}
        columns={COLUMNS}
        onOpen={(sae) => void navigate({ to: "/saes/$id", params: { id: sae.id } })}
        preview={(sae) => ({ title: sae.name, content: <SaeFacts sae={sae} /> })}
        actions={add}
        empty={
          <Empty title="No SAEs yet" action={add}>
            Sparse autoencoders come out of trainings, or are imported: from SAELens, sparsify,
            dictionary_learning, Gemma Scope and others.
          </Empty>
        }
      />
      <ImportSae open={adding} onClose={() => setAdding(false)} />
    </>
  );
}
