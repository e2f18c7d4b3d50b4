import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { JobCell } from "@/jobs/JobState";
import { useJob } from "@/jobs/live";
import { Code, Facts, format, Num, ProgressBar, RelativeTime } from "@/kit";
import type { Training } from "./form";
import { RunNotes } from "./RunNotes";
import { architectureWords, trackerWords } from "./words";

/** What a training is, in short: the side panel of the list. */
export function TrainingFacts({ training }: { training: Training }) {
  const job = useJob(training.job);
  const { config } = training;
  return (
    <div className="flex flex-col gap-4">
      {job?.state === "running" ? (
        <ProgressBar progress={job} label={job.title} />
      ) : (
        <JobCell job={training.job} done />
      )}
      {job?.state === "failed" && job.error && (
        <p role="alert" className="text-failed">
          {job.error.message} {job.error.hint}
        </p>
      )}
      <Facts
        facts={[
          ["Id", <Code key="id">{training.id}</Code>],
          [
            "Model",
            <Link key="model" to="/models/$id" params={{ id: training.model_id }} className="link">
              {training.model_name}
            </Link>,
          ],
          ["Hook point", <Code key="hook">{training.hook}</Code>],
          [
            training.sources.length > 1 ? "Data sets" : "Data set",
            <span key="datasets" className="flex flex-col">
              {training.sources.map((source) => (
                <Link
                  key={source.tokenization_id}
                  to="/datasets/$id"
                  params={{ id: source.dataset_id }}
                  className="link"
                >
                  {source.dataset_name}
                  {training.sources.length > 1 && ` (weight ${format.figure(source.weight)})`}
                </Link>
              ))}
            </span>,
          ],
          [
            "Sweep",
            training.sweep_size > 1 ? (
              <Link key="sweep" to="/sweeps/$id" params={{ id: training.sweep_id }} className="link">
                {format.plural(training.sweep_size, "SAE")} in one pass
              </Link>
            ) : (
              "alone"
            ),
          ],
          ["Activations", training.cache_id ? "from a cache" : "the model runs alongside"],
          ...(training.trackers.length
            ? ([["Curves also go to", trackerWords(training)]] as [string, ReactNode][])
            : []),
          ["Architecture", architectureWords(config.architecture)],
          ["Width", <Num key="width" value={config.d_sae} unit="latents" />],
          [
            "Trained on",
            <span key="tokens">
              <Num value={training.tokens_trained} /> of <Num value={config.total_tokens} unit="tokens" />
            </span>,
          ],
          ["FVU", <Num key="fvu" value={training.last_metrics?.fvu} />],
          ["L0", <Num key="l0" value={training.last_metrics?.l0} />],
          [
            "SAE",
            training.sae_id ? (
              <Link key="sae" to="/saes/$id" params={{ id: training.sae_id }} className="link">
                open
              </Link>
            ) : (
              "none yet"
            ),
          ],
          ["Started", <RelativeTime key="created" at={training.created_at} />],
        ]}
      />
      <RunNotes training={training} />
    </div>
  );
}
