import { useQuery } from "@tanstack/react-query";
import { api, body } from "@/api/client";
import { useRefetchOn } from "@/api/useChannel";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobBanner } from "@/jobs/JobState";
import { Empty, ErrorNote, SkeletonLines, useUrlState } from "@/kit";
import type { Dataset } from "./DatasetFacts";
import { TextStatistics } from "./TextStatistics";
import { TokenizationStatistics } from "./TokenizationStatistics";

/** Statistics of a data set's text, or of one of its tokenizations: `?of=` says of which. */
export function DatasetStatistics({ dataset }: { dataset: Dataset }) {
  const [of, setOf] = useUrlState("of", "");
  const list = useQuery({
    queryKey: ["tokenizations", dataset.id, "choices"],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/datasets/{dataset_id}/tokenizations", {
          params: { path: { dataset_id: dataset.id }, query: { limit: 200 } },
          signal,
        }),
      ),
  });
  useRefetchOn("tokenizations", ["tokenizations"]);
  const tokenizations = list.data?.items ?? [];
  return (
    <>
      {tokenizations.length > 0 && (
        <div className="flex shrink-0 items-center gap-2 border-b border-line px-5 py-1.5">
          <label htmlFor="statistics-of" className="text-muted">
            Statistics of
          </label>
          <select
            id="statistics-of"
            className="field max-w-80"
            value={of}
            onChange={(event) => setOf(event.target.value)}
          >
            <option value="">the text</option>
            <optgroup label="Tokenizations">
              {tokenizations.map((one) => (
                <option key={one.id} value={one.id}>
                  {one.name}
                  {one.ready ? "" : ` (${one.job?.state ?? "not complete"})`}
                </option>
              ))}
            </optgroup>
          </select>
        </div>
      )}
      {of === "" ? <TextStatistics dataset={dataset} /> : <OfTokenization dataset={dataset} id={of} />}
    </>
  );
}

function OfTokenization({ dataset, id }: { dataset: Dataset; id: string }) {
  const found = useQuery({
    queryKey: ["tokenizations", "one", id],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/datasets/{dataset_id}/tokenizations/{key}", {
          params: { path: { dataset_id: dataset.id, key: id } },
          signal,
        }),
      ),
  });
  if (found.error)
    return (
      <div className="p-5">
        <ErrorNote error={found.error} onRetry={() => void found.refetch()} />
      </div>
    );
  if (!found.data)
    return (
      <div className="p-5">
        <SkeletonLines lines={6} />
      </div>
    );
  const tokenization = found.data;
  if (!tokenization.ready)
    return (
      <>
        <JobBanner job={tokenization.job} onCancel={cancelJob} onRetry={retryJob} />
        <Empty title="Its statistics are here once it is complete" />
      </>
    );
  return (
    <div className="max-w-[1180px] p-5">
      <TokenizationStatistics tokenization={tokenization} />
    </div>
  );
}
