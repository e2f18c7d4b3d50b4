import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import {
  Ban,
  BookmarkPlus,
  ChevronsRight,
  CirclePause,
  CopyPlus,
  FileDown,
  MoreHorizontal,
  Pencil,
  Play,
  Save,
  SlidersHorizontal,
  Sparkles,
  Trash2,
} from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import { useJob } from "@/jobs/live";
import { Button, ConfirmDialog, format, IconButton, Menu, type MenuItem, RenameDialog } from "@/kit";
import { useExtract } from "@/saes/useExtract";
import { SaveTemplate } from "@/templates/SaveTemplate";
import { CloneDialog } from "./CloneDialog";
import { ChangeDialog, ContinueDialog, useAct } from "./ControlDialogs";
import type { TrainingDetail } from "./form";

/** What one may do with a run in its present state. */
export function RunActions({ training }: { training: TrainingDetail }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const job = useJob(training.job);
  const [renaming, setRenaming] = useState(false);
  const [saving, setSaving] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const [dialog, setDialog] = useState<"change" | "continue" | "clone" | null>(null);
  const { busy, act } = useAct();
  const extract = useExtract();
  const at = { params: { path: { training_id: training.id } } };
  const state = job?.state;
  const unfinished = training.tokens_trained < training.config.total_tokens;

  const alive = state === "running" || state === "queued" || state === "paused";
  const close = () => setDialog(null);
  const items: MenuItem[] = [
    { label: "Rename", icon: <Pencil size={14} />, onSelect: () => setRenaming(true) },
    {
      label: "Save as template",
      icon: <BookmarkPlus size={14} />,
      onSelect: () => {
        // for what it has come to by now
        void client.invalidateQueries({ queryKey: ["trainings", training.id] });
        setSaving(true);
      },
    },
    {
      label: "Clone with changes",
      icon: <CopyPlus size={14} />,
      apart: true,
      onSelect: () => setDialog("clone"),
    },
    {
      label: "Download all points as CSV",
      icon: <FileDown size={14} />,
      onSelect: () => {
        const link = document.createElement("a");
        link.href = `/api/v1/trainings/${training.id}/metrics.csv`;
        link.download = "";
        link.click();
      },
    },
    ...(alive && state !== "running"
      ? [
          {
            label: "Change settings",
            icon: <SlidersHorizontal size={14} />,
            onSelect: () => setDialog("change"),
          },
        ]
      : []),
    ...(job && (!alive || state === "paused")
      ? [
          {
            label: "Train longer",
            icon: <ChevronsRight size={14} />,
            onSelect: () => setDialog("continue"),
          },
        ]
      : []),
    ...(alive
      ? [
          {
            label: "Cancel",
            icon: <Ban size={14} />,
            onSelect: () => void act(() => body(api.POST("/api/v1/trainings/{training_id}/cancel", at))),
          },
        ]
      : []),
    {
      label: "Delete",
      icon: <Trash2 size={14} />,
      danger: true,
      apart: true,
      onSelect: () => setDeleting(true),
    },
  ];
  return (
    <>
      {state === "running" && (
        <>
          <Button
            icon={<SlidersHorizontal size={15} />}
            hint="Learning rate and sparsity, from the next step on"
            onClick={() => setDialog("change")}
          >
            Change
          </Button>
          <Button
            icon={<CirclePause size={15} />}
            busy={busy}
            hint="Writes a checkpoint and frees the machine; it goes on later from there"
            onClick={() => void act(() => body(api.POST("/api/v1/trainings/{training_id}/pause", at)))}
          >
            Pause
          </Button>
          <Button
            icon={<Save size={15} />}
            busy={busy}
            hint="Ends after this step; the SAE as it is then is measured and kept"
            onClick={() => void act(() => body(api.POST("/api/v1/trainings/{training_id}/stop", at)))}
          >
            Stop and keep
          </Button>
        </>
      )}
      {unfinished &&
        (state === "paused" || state === "failed" || state === "cancelled" || state === "succeeded") && (
          <Button
            icon={<Play size={15} />}
            busy={busy}
            look={training.sae_id ? "plain" : "primary"}
            hint={training.checkpoints.length > 0 ? "Goes on from its newest checkpoint" : "Starts again"}
            onClick={() => void act(() => body(api.POST("/api/v1/trainings/{training_id}/resume", at)))}
          >
            Resume
          </Button>
        )}
      {training.sae_id && state === "succeeded" && (
        <Button
          look="primary"
          icon={<Sparkles size={15} />}
          busy={extract.busy}
          hint="One pass over its own tokens: what each latent responds to"
          onClick={() => void extract.run(training.sae_id as string)}
        >
          Extract features
        </Button>
      )}
      <Menu items={items}>
        <IconButton label="More actions">
          <MoreHorizontal size={16} />
        </IconButton>
      </Menu>
      <ChangeDialog training={training} open={dialog === "change"} onClose={close} />
      <ContinueDialog training={training} open={dialog === "continue"} onClose={close} />
      <CloneDialog training={training} open={dialog === "clone"} onClose={close} />
      <RenameDialog
        open={renaming}
        onClose={() => setRenaming(false)}
        name={training.name}
        onRename={async (name) => {
          await body(api.PATCH("/api/v1/trainings/{training_id}", { ...at, body: { name } }));
          await client.invalidateQueries({ queryKey: ["trainings"] });
        }}
      />
      <SaveTemplate
        open={saving}
        onClose={() => setSaving(false)}
        kind="training"
        name={training.name}
        expected={training.expected}
        settings={() => ({
          config: training.config,
          held_out_tokens: training.held_out_tokens,
          ...(training.cache_id ? {} : { harvest: training.harvest }),
        })}
      />
      <ConfirmDialog
        open={deleting}
        onClose={() => setDeleting(false)}
        title={`Delete training “${training.name}”?`}
        action="Delete training"
        onConfirm={async () => {
          await api.DELETE("/api/v1/trainings/{training_id}", at);
          await navigate({ to: "/trainings" });
          client.removeQueries({ queryKey: ["trainings", training.id] });
          void client.invalidateQueries({ queryKey: ["trainings"] });
        }}
      >
        <p>
          Its curves, {format.plural(training.checkpoints.length, "checkpoint")} and log (
          {format.bytes(training.bytes)}) are removed from the disk. This cannot be undone.
        </p>
        <p className="mt-2">
          {training.sae_id
            ? "The SAE that it made stays."
            : state === "running"
              ? "It is running: it is cancelled, and no SAE is kept."
              : "It has made no SAE."}
        </p>
      </ConfirmDialog>
    </>
  );
}
