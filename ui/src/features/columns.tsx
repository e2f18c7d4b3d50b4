import { Link } from "@tanstack/react-router";
import { JobCell } from "@/jobs/JobState";
import { type Column, Num, RelativeTime } from "@/kit";
import type { Extraction } from "./query";

/** Columns of a table of extractions. */
export const EXTRACTION_COLUMNS: Column<Extraction>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(180px, 2fr)",
    sort: "name",
    cell: (one) => (
      <Link to="/features/$id" params={{ id: one.id }} className="font-medium hover:underline">
        {one.name}
      </Link>
    ),
  },
  {
    id: "state",
    header: "State",
    width: "minmax(130px, 1fr)",
    cell: (one) => <JobCell job={one.job} ready={one.ready} />,
  },
  { id: "sae", header: "SAE", width: "minmax(150px, 1.5fr)", cell: (one) => one.sae_name },
  {
    id: "hook",
    header: "Hook point",
    width: "minmax(150px, 1fr)",
    cell: (one) => <code>{one.hook ?? "–"}</code>,
  },
  {
    id: "latents",
    header: "Latents",
    width: "80px",
    align: "right",
    cell: (one) => <Num value={one.d_sae} />,
  },
  {
    id: "tokens",
    header: "Tokens",
    width: "80px",
    align: "right",
    sort: "n_tokens",
    cell: (one) => <Num value={one.n_tokens} />,
  },
  {
    id: "labelled",
    header: "Labelled",
    width: "80px",
    align: "right",
    cell: (one) => <Num value={one.labelled} />,
  },
  {
    id: "created",
    header: "Made",
    width: "104px",
    sort: "created_at",
    descendingFirst: true,
    cell: (one) => <RelativeTime at={one.created_at} />,
  },
];
