import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { cancelJob } from "@/jobs/actions";
import { isActive, useJob } from "@/jobs/live";
import { Button, format, Menu, progressWords, shareDone, tip } from "@/kit";
import type { Dataset } from "./DatasetFacts";

type SearchIndex = components["schemas"]["SearchIndexOut"];

/** Whether there is a search index, what it takes, and the way to build or remove it. */
export function SearchIndexState({ dataset, index }: { dataset: Dataset; index: SearchIndex | undefined }) {
  const client = useQueryClient();
  const job = useJob(index?.job);
  const at = { params: { path: { dataset_id: dataset.id } } };
  const act = async (work: Promise<unknown>) => {
    try {
      await work;
    } catch (error) {
      const problem = Problem.from(error);
      toast.error(problem.detail, { description: problem.hint ?? undefined });
    }
    await client.invalidateQueries({ queryKey: ["dataset_search", dataset.id] });
  };
  const build = () => void act(body(api.POST("/api/v1/datasets/{dataset_id}/search-index", at)));
  const remove = () => void act(body(api.DELETE("/api/v1/datasets/{dataset_id}/search-index", at)));
  if (!index) return null;
  if (job && isActive(job)) {
    const share = shareDone(job);
    return (
      <span className="flex items-center gap-2 text-xs text-muted">
        <span {...tip(progressWords(job))}>
          {job.state === "queued"
            ? "Index queued"
            : `Building index${share === null ? "" : ` ${format.percent(share)}`}`}
        </span>
        <button type="button" className="rounded-[3px] link" onClick={() => void cancelJob(job)}>
          Cancel
        </button>
      </span>
    );
  }
  if (index.ready)
    return (
      <Menu
        items={[
          { label: "Build it again", onSelect: build },
          { label: "Remove it", onSelect: remove, danger: true, apart: true },
        ]}
      >
        <Button
          look="quiet"
          size="h-7 px-1.5"
          hint="Searches for words are answered by this index. Click to rebuild or remove it."
        >
          Indexed · {format.bytes(index.bytes)}
        </Button>
      </Menu>
    );
  return (
    <span className="flex items-center gap-2 text-xs text-muted">
      {job?.state === "failed" && (
        <Link to="/jobs/$id" params={{ id: job.id }} className="link" {...tip(job.error?.message)}>
          Index failed
        </Link>
      )}
      <Button
        onClick={build}
        hint={
          index.stale
            ? `The index is of the column ${index.text_column}: build it for ${dataset.text_column}.`
            : "Makes searches for words instant, also over millions of rows. Takes about half the text's size on disk."
        }
      >
        {index.stale ? "Rebuild index" : "Build search index"}
      </Button>
    </span>
  );
}
