import type { components } from "@/api/schema";
import { Bytes, type Column, DataTable, Num, RelativeTime, useRows } from "@/kit";
import type { TrainingDetail } from "./form";

type Checkpoint = components["schemas"]["CheckpointOut"];

const COLUMNS: Column<Checkpoint>[] = [
  { id: "step", header: "Step", width: "120px", align: "right", cell: (one) => <Num value={one.step} /> },
  {
    id: "tokens",
    header: "Tokens",
    width: "140px",
    align: "right",
    cell: (one) => <Num value={one.tokens} />,
  },
  {
    id: "bytes",
    header: "On disk",
    width: "120px",
    align: "right",
    cell: (one) => <Bytes value={one.bytes} />,
  },
  {
    id: "created",
    header: "Written",
    width: "minmax(140px, 1fr)",
    cell: (one) => <RelativeTime at={one.created_at} />,
  },
];

/** From where the training can go on: the newest is taken. */
export function Checkpoints({ training }: { training: TrainingDetail }) {
  const newestFirst = [...training.checkpoints].reverse();
  return (
    <DataTable
      label="Checkpoints"
      columns={COLUMNS}
      source={useRows(newestFirst)}
      id={(one) => String(one.step)}
      empty={
        <p className="px-5 py-10 text-center text-muted">
          None yet. One is written every {training.config.checkpoint_every ?? 0} steps, when the run is
          paused, and at the end.
        </p>
      }
    />
  );
}
