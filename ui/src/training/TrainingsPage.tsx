import { useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import { JobCell } from "@/jobs/JobState";
import { isActive, useJob } from "@/jobs/live";
import {
  Button,
  type Column,
  ConfirmDialog,
  Empty,
  format,
  ListPage,
  Num,
  Percent,
  RelativeTime,
} from "@/kit";
import type { Training } from "./form";
import { TrainingFacts } from "./TrainingFacts";
import { useNewest } from "./useMetrics";

/** A metric of a run as it is now: live while it trains, else the last that was recorded. */
function Now({ training, name }: { training: Training; name: string }) {
  const job = useJob(training.job);
  const newest = useNewest(isActive(job) ? training.id : null);
  const value = newest?.[name] ?? training.last_metrics?.[name];
  return name === "dead_fraction" ? <Percent value={value} /> : <Num value={value} />;
}

function Speed({ training }: { training: Training }) {
  const job = useJob(training.job);
  const rate = isActive(job) && job?.unit === "tokens" ? job.rate : training.last_metrics?.tokens_per_second;
  return <Num value={rate} unit="tokens/s" />;
}

const COLUMNS: Column<Training>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(150px, 2fr)",
    sort: "name",
    cell: (training) => (
      <Link to="/trainings/$id" params={{ id: training.id }} className="font-medium hover:underline">
        {training.name}
      </Link>
    ),
  },
  {
    id: "state",
    header: "State",
    width: "minmax(152px, 1fr)",
    cell: (training) => <JobCell job={training.job} done />,
  },
  { id: "model", header: "Model", width: "minmax(90px, 1fr)", cell: (training) => training.model_name },
  {
    id: "hook",
    header: "Hook point",
    width: "minmax(120px, 1fr)",
    sort: "hook",
    cell: (training) => <code>{training.hook}</code>,
  },
  {
    id: "width",
    header: "Width",
    width: "64px",
    align: "right",
    hint: "Latents in the dictionary (d_sae)",
    cell: (training) => <Num value={training.config.d_sae} />,
  },
  {
    id: "fvu",
    header: "FVU",
    width: "68px",
    align: "right",
    hint: "Fraction of variance unexplained, last recorded",
    cell: (training) => <Now training={training} name="fvu" />,
  },
  {
    id: "l0",
    header: "L0",
    width: "56px",
    align: "right",
    hint: "Active latents per token, last recorded",
    cell: (training) => <Now training={training} name="l0" />,
  },
  {
    id: "dead",
    header: "Dead",
    width: "66px",
    align: "right",
    hint: "Share of latents that were not active in the window",
    cell: (training) => <Now training={training} name="dead_fraction" />,
  },
  {
    id: "speed",
    header: "Speed",
    width: "108px",
    align: "right",
    cell: (training) => <Speed training={training} />,
  },
  {
    id: "created",
    header: "Started",
    width: "92px",
    sort: "created_at",
    descendingFirst: true,
    cell: (training) => <RelativeTime at={training.created_at} />,
  },
];

export function TrainingsPage() {
  const navigate = useNavigate();
  const add = (
    <Button look="primary" icon={<Plus size={15} />} onClick={() => void navigate({ to: "/trainings/new" })}>
      New training
    </Button>
  );
  return (
    <ListPage
      title="Training"
      name="trainings"
      fetch={(query, signal) => body(api.GET("/api/v1/trainings", { params: { query }, signal }))}
      columns={COLUMNS}
      onOpen={(training) => void navigate({ to: "/trainings/$id", params: { id: training.id } })}
      preview={(training) => ({ title: training.name, content: <TrainingFacts training={training} /> })}
      actions={add}
      bulk={(rows, clear) => <BulkDelete rows={rows} clear={clear} />}
      empty={
        <Empty title="No trainings yet" action={add}>
          A training learns a sparse autoencoder from a model's activations at one hook point. It needs a
          tokenized data set.
        </Empty>
      }
    />
  );
}

function BulkDelete({ rows, clear }: { rows: Training[]; clear: () => void }) {
  const client = useQueryClient();
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button icon={<Trash2 size={14} />} onClick={() => setOpen(true)}>
        Delete
      </Button>
      <ConfirmDialog
        open={open}
        onClose={() => setOpen(false)}
        title={`Delete ${format.plural(rows.length, "training")}?`}
        action={`Delete ${format.plural(rows.length, "training")}`}
        onConfirm={async () => {
          for (const row of rows)
            await api.DELETE("/api/v1/trainings/{training_id}", {
              params: { path: { training_id: row.id } },
            });
          clear();
          await client.invalidateQueries({ queryKey: ["trainings"] });
        }}
      >
        <p>
          Their curves, checkpoints and logs are removed from the disk; those that run are cancelled. The SAEs
          that they made stay.
        </p>
        <ul className="mt-2 max-h-40 list-disc overflow-y-auto pl-5">
          {rows.map((row) => (
            <li key={row.id}>{row.name}</li>
          ))}
        </ul>
      </ConfirmDialog>
    </>
  );
}
