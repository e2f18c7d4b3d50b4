import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { FileText, GitCompareArrows, Star, Tag, Trash2 } from "lucide-react";
import { type FormEvent, useId, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { Button, ConfirmDialog, Dialog, Field, format } from "@/kit";
import { ReportDialog } from "./ReportDialog";
import type { Row } from "./runs";

export const MOST_COMPARED = 64;

/** The runs of these rows: those that are ticked, and all of a group whose head is. */
export async function idsOf(rows: Row[]): Promise<string[]> {
  const ids = rows.flatMap((row) => (row.run ? [row.run.id] : []));
  for (const row of rows)
    if (row.group)
      ids.push(
        ...(await body(
          api.GET("/api/v1/trainings/ids", { params: { query: { filter: row.group.filter } } }),
        )),
      );
  return [...new Set(ids)];
}

function failed(error: unknown): void {
  const problem = Problem.from(error);
  toast.error(problem.detail, { description: problem.hint ?? undefined });
}

/** What can be done to several runs at once. */
export function RunsBulk({ rows, clear }: { rows: Row[]; clear: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [dialog, setDialog] = useState<"tag" | "delete" | "report" | null>(null);
  const [ids, setIds] = useState<string[]>([]);
  const refresh = () => client.invalidateQueries({ queryKey: ["trainings"] });
  const open = (which: typeof dialog) =>
    void idsOf(rows).then((found) => {
      setIds(found);
      setDialog(which);
    }, failed);
  const compare = () =>
    void idsOf(rows).then((found) => {
      if (found.length < 2) toast("Choose at least two runs to compare.");
      else if (found.length > MOST_COMPARED)
        toast(`At most ${MOST_COMPARED} runs can be compared; these are ${found.length}.`);
      else void navigate({ to: "/trainings/compare", search: { ids: found.join(",") } as never });
    }, failed);
  const star = () => {
    const all = rows.every((row) => row.run?.favourite);
    void idsOf(rows)
      .then((found) =>
        body(api.POST("/api/v1/trainings/bulk", { body: { ids: found, favourite: !all } as never })),
      )
      .then(refresh, failed);
  };
  return (
    <>
      <Button icon={<GitCompareArrows size={14} />} onClick={compare}>
        Compare
      </Button>
      <Button icon={<Tag size={14} />} onClick={() => open("tag")}>
        Tag
      </Button>
      <Button icon={<Star size={14} />} onClick={star}>
        Star
      </Button>
      <Button icon={<FileText size={14} />} onClick={() => open("report")}>
        Report
      </Button>
      <Button icon={<Trash2 size={14} />} onClick={() => open("delete")}>
        Delete
      </Button>
      <Button look="quiet" onClick={clear}>
        Clear
      </Button>
      <TagDialog
        open={dialog === "tag"}
        onClose={() => setDialog(null)}
        ids={ids}
        present={[...new Set(rows.flatMap((row) => row.run?.tags ?? []))]}
        onDone={refresh}
      />
      <ReportDialog open={dialog === "report"} onClose={() => setDialog(null)} ids={ids} />
      <ConfirmDialog
        open={dialog === "delete"}
        onClose={() => setDialog(null)}
        title={`Delete ${format.plural(ids.length, "run")}?`}
        action={`Delete ${format.plural(ids.length, "run")}`}
        onConfirm={async () => {
          await body(api.POST("/api/v1/trainings/bulk-delete", { body: { ids } }));
          toast(`Deleted ${format.plural(ids.length, "run")}.`);
          clear();
          await refresh();
        }}
      >
        <p>
          Their curves, checkpoints and logs are removed from the disk; those that run are cancelled. The SAEs
          that they made stay.
        </p>
        <ul className="mt-2 max-h-40 list-disc overflow-y-auto pl-5">
          {rows.map((row) =>
            row.run ? (
              <li key={row.run.id}>{row.run.name}</li>
            ) : (
              <li key={row.group.filter}>all {format.plural(row.group.count, "run")} of a group</li>
            ),
          )}
        </ul>
      </ConfirmDialog>
    </>
  );
}

function TagDialog({
  open,
  onClose,
  ids,
  present,
  onDone,
}: {
  open: boolean;
  onClose: () => void;
  ids: string[];
  /** Tags that some of them have. */
  present: string[];
  onDone: () => Promise<unknown>;
}) {
  const field = useId();
  const [text, setText] = useState("");
  const [off, setOff] = useState<string[]>([]);
  const [busy, setBusy] = useState(false);
  const add = text.split(",").flatMap((tag) => tag.trim() || []);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      await body(api.POST("/api/v1/trainings/bulk", { body: { ids, add_tags: add, remove_tags: off } }));
      await onDone();
      setText("");
      setOff([]);
      onClose();
    } catch (error) {
      failed(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog open={open} onClose={onClose} title={`Tag ${format.plural(ids.length, "run")}`}>
      <form onSubmit={submit} className="flex flex-col gap-4">
        <Field id={field} label="Add" hint="Several with commas between.">
          <input
            id={field}
            className="field"
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
        </Field>
        {present.length > 0 && (
          <fieldset>
            <legend className="mb-1 text-xs text-muted">Take away</legend>
            <div className="flex flex-wrap gap-x-4 gap-y-1">
              {present.map((tag) => (
                <label key={tag} className="flex items-center gap-1.5">
                  <input
                    type="checkbox"
                    className="accent-accent"
                    checked={off.includes(tag)}
                    onChange={(event) =>
                      setOff(event.target.checked ? [...off, tag] : off.filter((one) => one !== tag))
                    }
                  />
                  {tag}
                </label>
              ))}
            </div>
          </fieldset>
        )}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look="primary" busy={busy} disabled={add.length === 0 && off.length === 0}>
            Tag
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
