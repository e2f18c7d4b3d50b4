import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import {
  Ban,
  BookmarkPlus,
  ChartColumn,
  MoreHorizontal,
  Pencil,
  RotateCw,
  Trash2,
  TrendingDown,
} from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { cancelJob, retryJob } from "@/jobs/actions";
import { isActive, useJob } from "@/jobs/live";
import { DeleteDialog, IconButton, Menu, RenameDialog } from "@/kit";
import { SaveTemplate } from "@/templates/SaveTemplate";
import { type Cache, freed } from "./columns";
import { patternsOf } from "./patterns";

/** What one may do with a cache in its present state. */
export function CacheActions({ cache, onGone }: { cache: Cache; onGone: () => unknown }) {
  const client = useQueryClient();
  const job = useJob(cache.job);
  const [deleting, setDeleting] = useState(false);
  const [renaming, setRenaming] = useState(false);
  const [saving, setSaving] = useState(false);
  const path = { cache_id: cache.id };
  const ended = job && !isActive(job) && job.state !== "succeeded";
  return (
    <>
      <Menu
        items={[
          { label: "Rename", icon: <Pencil size={14} />, onSelect: () => setRenaming(true) },
          { label: "Save as template", icon: <BookmarkPlus size={14} />, onSelect: () => setSaving(true) },
          ...(job && isActive(job)
            ? [{ label: "Cancel", icon: <Ban size={14} />, onSelect: () => void cancelJob(job) }]
            : []),
          ...(ended
            ? [{ label: "Retry", icon: <RotateCw size={14} />, onSelect: () => void retryJob(job) }]
            : []),
          {
            label: "Delete",
            icon: <Trash2 size={14} />,
            danger: true,
            apart: true,
            onSelect: () => setDeleting(true),
          },
        ]}
      >
        <IconButton label="More actions">
          <MoreHorizontal size={16} />
        </IconButton>
      </Menu>
      <RenameDialog
        open={renaming}
        onClose={() => setRenaming(false)}
        name={cache.name}
        onRename={async (name) => {
          await body(api.PATCH("/api/v1/activations/{cache_id}", { params: { path }, body: { name } }));
          await client.invalidateQueries({ queryKey: ["activation_caches"] });
        }}
      />
      <SaveTemplate
        open={saving}
        onClose={() => setSaving(false)}
        kind="extraction"
        settings={() => ({
          hooks: patternsOf(cache.hooks, Number.MAX_SAFE_INTEGER),
          dtype: cache.dtype,
          settings: cache.settings,
        })}
      />
      <DeleteDialog
        open={deleting}
        onClose={() => setDeleting(false)}
        noun="activation cache"
        name={cache.name}
        bytes={cache.bytes}
        readUsers={() => body(api.GET("/api/v1/activations/{cache_id}/users", { params: { path } }))}
        onDelete={async () => {
          await api.DELETE("/api/v1/activations/{cache_id}", { params: { path, query: { force: true } } });
          await onGone();
          client.removeQueries({ queryKey: ["activation_caches", cache.id] });
          void client.invalidateQueries({ queryKey: ["activation_caches"] });
          toast.success(freed([cache]));
        }}
      />
    </>
  );
}

/** To everything about what it holds. */
export function StatisticsOfIt({ cache }: { cache: Cache }) {
  return (
    <Link
      to="/activations/$id"
      params={{ id: cache.id }}
      className="inline-flex h-7 items-center gap-1.5 rounded-[5px] border border-line-strong bg-surface px-2.5 text-sm whitespace-nowrap hover:bg-hover"
    >
      <ChartColumn size={15} aria-hidden="true" />
      Statistics
    </Link>
  );
}

/** To the training form, with this cache and one of its hook points chosen. */
export function TrainOnIt({ cache, hook }: { cache: Cache; hook?: string }) {
  return (
    <Link
      to="/trainings/new"
      search={{ tokenization: cache.tokenization_id, cache: cache.id, hook: hook ?? cache.hooks[0] } as never}
      className="inline-flex h-7 items-center gap-1.5 rounded-[5px] bg-accent px-2.5 text-sm font-medium whitespace-nowrap text-accent-ink hover:brightness-110"
    >
      <TrendingDown size={15} aria-hidden="true" />
      Train on it
    </Link>
  );
}
