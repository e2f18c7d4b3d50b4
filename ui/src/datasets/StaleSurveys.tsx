import { useQuery, useQueryClient } from "@tanstack/react-query";
import { TriangleAlert } from "lucide-react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { useRefetchOn } from "@/api/useChannel";
import { isActive, useJob } from "@/jobs/live";
import { Button, progressWords } from "@/kit";
import type { Dataset } from "./DatasetFacts";

/** Says that statistics or search index are of another column than the text, and makes them anew. */
export function StaleSurveys({ dataset }: { dataset: Dataset }) {
  const client = useQueryClient();
  const at = { params: { path: { dataset_id: dataset.id } } };
  const statistics = useQuery({
    queryKey: ["dataset_statistics", dataset.id],
    queryFn: ({ signal }) => body(api.GET("/api/v1/datasets/{dataset_id}/statistics", { ...at, signal })),
  });
  const index = useQuery({
    queryKey: ["dataset_search", dataset.id],
    queryFn: ({ signal }) => body(api.GET("/api/v1/datasets/{dataset_id}/search-index", { ...at, signal })),
  });
  useRefetchOn(`dataset_statistics/${dataset.id}`, ["dataset_statistics", dataset.id]);
  useRefetchOn(`dataset_search/${dataset.id}`, ["dataset_search", dataset.id]);
  const counting = useJob(statistics.data?.job);
  const indexing = useJob(index.data?.job);
  const stale = [
    statistics.data?.stale && { name: "statistics", job: counting },
    index.data?.stale && { name: "search index", job: indexing },
  ].filter((one) => !!one);
  if (stale.length === 0) return null;
  const names = stale.map((one) => one.name).join(" and ");
  const running = stale.map((one) => one.job).find((job) => isActive(job));
  const waiting = stale.filter((one) => !isActive(one.job));
  const anew = async () => {
    try {
      if (waiting.some((one) => one.name === "statistics"))
        await body(api.POST("/api/v1/datasets/{dataset_id}/statistics", at));
      if (waiting.some((one) => one.name === "search index"))
        await body(api.POST("/api/v1/datasets/{dataset_id}/search-index", at));
    } catch (error) {
      toast.error(Problem.from(error).detail);
    }
    await client.invalidateQueries({ queryKey: ["dataset_statistics", dataset.id] });
    await client.invalidateQueries({ queryKey: ["dataset_search", dataset.id] });
  };
  return (
    <div
      role="status"
      className="mt-2 flex flex-wrap items-center gap-2 rounded-[5px] border border-line bg-sunken px-2.5 py-1.5"
    >
      <TriangleAlert size={14} className="shrink-0 text-warning" aria-hidden="true" />
      <span className="min-w-0 flex-1">
        The {names} {stale.length > 1 || names === "statistics" ? "are" : "is"} not of the text column{" "}
        <code>{dataset.text_column}</code>
        {running ? (
          <span className="text-muted">
            {" "}
            yet: {running.state === "queued" ? "queued" : progressWords(running)}
          </span>
        ) : (
          "."
        )}
      </span>
      {waiting.length > 0 && <Button onClick={() => void anew()}>Make anew</Button>}
    </div>
  );
}
