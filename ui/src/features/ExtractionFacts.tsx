import { Link } from "@tanstack/react-router";
import { JobCell } from "@/jobs/JobState";
import { useJob } from "@/jobs/live";
import { Bytes, Code, Facts, Num, ProgressBar, RelativeTime } from "@/kit";
import type { Extraction } from "./query";

/** An extraction in short. */
export function ExtractionFacts({ extraction }: { extraction: Extraction }) {
  const job = useJob(extraction.job);
  const { summary } = extraction;
  return (
    <div className="flex flex-col gap-4">
      {job?.state === "running" ? (
        <ProgressBar progress={job} label={job.title} />
      ) : (
        <JobCell job={extraction.job} ready={extraction.ready} />
      )}
      {job?.state === "failed" && job.error && (
        <p role="alert" className="text-failed">
          {job.error.message} {job.error.hint}
        </p>
      )}
      <Facts
        facts={[
          ["Id", <Code key="id">{extraction.id}</Code>],
          [
            "SAE",
            <Link key="sae" to="/saes/$id" params={{ id: extraction.sae_id }} className="link">
              {extraction.sae_name || extraction.sae_id}
            </Link>,
          ],
          ["Hook point", extraction.hook ? <Code key="hook">{extraction.hook}</Code> : "–"],
          ["Latents", <Num key="d_sae" value={extraction.d_sae} />],
          ["Tokens read", <Num key="tokens" value={extraction.n_tokens} />],
          ["Active per token (L0)", <Num key="l0" value={summary?.l0} />],
          ["Never fired", <Num key="dead" value={summary?.n_dead} unit="latents" />],
          ["Labelled", <Num key="labelled" value={extraction.labelled} />],
          ["Starred", <Num key="starred" value={extraction.starred} />],
          ["On disk", <Bytes key="bytes" value={extraction.bytes} />],
          ["Made", <RelativeTime key="created" at={extraction.created_at} />],
        ]}
      />
    </div>
  );
}
