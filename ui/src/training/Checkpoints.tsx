import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Boxes, ChevronsRight, MoreHorizontal, Scale, Trash2, Undo2 } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { isActive, useJob } from "@/jobs/live";
import {
  Button,
  Bytes,
  type Column,
  ConfirmDialog,
  DataTable,
  format,
  IconButton,
  Menu,
  type MenuItem,
  type MetricInfo,
  Num,
  RelativeTime,
  tip,
  useRows,
} from "@/kit";
import { CheckpointComparison } from "./CheckpointComparison";
import { ContinueDialog, useAct } from "./ControlDialogs";
import { metricInfo, type TrainingDetail, useTrainingForm } from "./form";

export type Checkpoint = components["schemas"]["CheckpointView"];

const SHOWN = ["fvu", "l0", "dead_latents", "loss"];

/** From where the training can go on, be opened as an SAE, or be held against another of its checkpoints. */
export function Checkpoints({ training }: { training: TrainingDetail }) {
  const form = useTrainingForm();
  const client = useQueryClient();
  const job = useJob(training.job);
  const [deleting, setDeleting] = useState<Checkpoint[]>([]);
  const [returning, setReturning] = useState<Checkpoint | null>(null);
  const [longer, setLonger] = useState<Checkpoint | null>(null);
  const [compared, setCompared] = useState<[Checkpoint, Checkpoint] | null>(null);
  const { data, error, refetch } = useQuery({
    // A checkpoint more, or one less, and the list is read again.
    queryKey: ["trainings", training.id, "checkpoints", training.checkpoints.map((one) => one.step).join()],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/trainings/{training_id}/checkpoints", {
          params: { path: { training_id: training.id } },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
  });
  const makeSae = useMakeSae(training);
  const idle = !isActive(job) || job?.state === "paused";
  const at = (step: number) => ({ params: { path: { training_id: training.id, step } } });

  const menu = (one: Checkpoint): MenuItem[] => [
    { label: "Make an SAE of it", icon: <Boxes size={14} />, onSelect: () => void makeSae(one.step) },
    ...(idle
      ? [
          {
            label: "Go back to here",
            icon: <Undo2 size={14} />,
            onSelect: () => setReturning(one),
          },
          {
            label: "Train longer from here",
            icon: <ChevronsRight size={14} />,
            onSelect: () => setLonger(one),
          },
        ]
      : []),
    ...(one.newest && isActive(job)
      ? []
      : [
          {
            label: "Delete",
            icon: <Trash2 size={14} />,
            danger: true,
            apart: true,
            onSelect: () => setDeleting([one]),
          },
        ]),
  ];
  const rows = useRows(data);
  return (
    <>
      <DataTable
        label="Checkpoints"
        columns={columns(form?.metrics, menu)}
        source={{ ...rows, error: error && Problem.from(error), retry: () => void refetch() }}
        id={(one) => String(one.step)}
        bulk={(chosen, clear) => (
          <>
            <Button
              icon={<Scale size={14} />}
              disabled={chosen.length !== 2}
              hint={chosen.length === 2 ? "Figures, settings, how far directions have turned" : "Choose two"}
              onClick={() => {
                const [first, second] = [...chosen].sort((one, other) => one.step - other.step);
                if (first && second) setCompared([first, second]);
              }}
            >
              Compare
            </Button>
            <Button
              icon={<Trash2 size={14} />}
              onClick={() => {
                setDeleting(chosen);
                clear();
              }}
            >
              Delete
            </Button>
          </>
        )}
        empty={
          <p className="px-5 py-10 text-center text-muted">
            {(training.config.checkpoint_every ?? 0) > 0
              ? `None yet. One is written every ${format.exact(training.config.checkpoint_every)} steps, when the run is paused, and at the end.`
              : "None yet. One is written when the run is paused, and at the end."}
          </p>
        }
      />
      <ConfirmDialog
        open={deleting.length > 0}
        onClose={() => setDeleting([])}
        title={
          deleting.length === 1
            ? `Delete the checkpoint of step ${format.exact(deleting[0]?.step)}?`
            : `Delete ${format.plural(deleting.length, "checkpoint")}?`
        }
        action={deleting.length === 1 ? "Delete checkpoint" : "Delete checkpoints"}
        onConfirm={async () => {
          for (const one of deleting)
            await api.DELETE("/api/v1/trainings/{training_id}/checkpoints/{step}", at(one.step));
          void client.invalidateQueries({ queryKey: ["trainings", training.id] });
        }}
      >
        <p>
          {format.bytes(deleting.reduce((sum, one) => sum + one.bytes, 0))} are freed. The training can no
          longer go on from there; SAEs made of it stay.
        </p>
      </ConfirmDialog>
      <ConfirmDialog
        open={returning !== null}
        onClose={() => setReturning(null)}
        title={`Go back to step ${format.exact(returning?.step)}?`}
        action="Go back and train"
        onConfirm={async () => {
          await body(
            api.POST("/api/v1/trainings/{training_id}/retry", {
              params: { path: { training_id: training.id } },
              body: { checkpoint: returning?.step ?? null },
            }),
          );
          void client.invalidateQueries({ queryKey: ["trainings"] });
        }}
      >
        <p>
          Curves, changes and checkpoints of later steps are forgotten, and it trains on from there to{" "}
          {format.figure(training.config.total_tokens)} tokens. SAEs that it has made stay.
        </p>
      </ConfirmDialog>
      {longer && (
        <ContinueDialog
          open
          onClose={() => setLonger(null)}
          training={training}
          {...(longer.newest ? {} : { from: longer.step })}
        />
      )}
      {compared && (
        <CheckpointComparison
          training={training}
          pair={compared}
          metrics={form?.metrics}
          onClose={() => setCompared(null)}
        />
      )}
    </>
  );
}

function columns(
  metrics: Record<string, MetricInfo | undefined> | undefined,
  menu: (one: Checkpoint) => MenuItem[],
): Column<Checkpoint>[] {
  return [
    {
      id: "step",
      header: "Step",
      width: "110px",
      align: "right",
      cell: (one) => <Num value={one.step} />,
    },
    {
      id: "kept",
      header: "Kept as",
      width: "130px",
      cell: (one) => (
        <span className="flex gap-1">
          {one.newest && <Mark words="newest" why="The training goes on from here" />}
          {one.best && <Mark words="best" why="The lowest by the metric that the settings name" />}
        </span>
      ),
    },
    {
      id: "tokens",
      header: "Tokens",
      width: "120px",
      align: "right",
      cell: (one) => <Num value={one.tokens} />,
    },
    ...SHOWN.map(
      (name): Column<Checkpoint> => ({
        id: name,
        header: metricInfo(metrics, name).title,
        width: "minmax(90px, 130px)",
        align: "right",
        hint: "Mean over the curve's points since the checkpoint before",
        cell: (one) => <Num value={one.metrics[name] ?? null} />,
      }),
    ),
    {
      id: "bytes",
      header: "On disk",
      width: "100px",
      align: "right",
      cell: (one) => <Bytes value={one.bytes} />,
    },
    {
      id: "created",
      header: "Written",
      width: "minmax(110px, 1fr)",
      cell: (one) => <RelativeTime at={one.created_at} />,
    },
    {
      id: "actions",
      header: "",
      width: "44px",
      cell: (one) => (
        <Menu items={menu(one)}>
          <IconButton label={`Actions for step ${one.step}`}>
            <MoreHorizontal size={15} />
          </IconButton>
        </Menu>
      ),
    },
  ];
}

function Mark({ words, why }: { words: string; why: string }) {
  return (
    <span className="rounded-[4px] bg-accent-wash px-1.5 text-xs text-accent" {...tip(why)}>
      {words}
    </span>
  );
}

/** Queues a job that makes an SAE of a checkpoint, and says where it is when it is there. */
function useMakeSae(training: TrainingDetail): (step: number) => Promise<void> {
  const navigate = useNavigate();
  const { act } = useAct();
  return (step) =>
    act(async () => {
      const job = await body(
        api.POST("/api/v1/trainings/{training_id}/checkpoints/{step}/sae", {
          params: { path: { training_id: training.id, step } },
          body: {},
        }),
      );
      toast(`An SAE is being made of step ${format.exact(step)}.`, {
        action: { label: "Watch", onClick: () => void navigate({ to: "/jobs/$id", params: { id: job.id } }) },
      });
    });
}
