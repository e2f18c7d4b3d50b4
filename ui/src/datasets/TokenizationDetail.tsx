import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { ChartColumn, ChevronLeft, ChevronRight } from "lucide-react";
import { Fragment, useState } from "react";
import { api, body } from "@/api/client";
import { JobCell } from "@/jobs/JobState";
import { useJob } from "@/jobs/live";
import {
  Button,
  Bytes,
  Code,
  ErrorNote,
  Facts,
  format,
  IconButton,
  Num,
  ProgressBar,
  Section,
  SettingFacts,
  SkeletonLines,
  useSearchParams,
} from "@/kit";
import { dropWords } from "./filterWords";
import { TokenIds } from "./TokenIds";
import type { Tokenization } from "./Tokenizations";
import { UsedBy } from "./UsedBy";

/** A tokenization: its progress or its figures, the settings that made it, its sequences. */
export function TokenizationDetail({ tokenization }: { tokenization: Tokenization }) {
  const job = useJob(tokenization.job);
  const { statistics } = tokenization;
  const [, setSearch] = useSearchParams();
  return (
    <div className="flex flex-col gap-5">
      {job?.state === "running" ? (
        <ProgressBar progress={job} label={job.title} />
      ) : (
        <JobCell job={tokenization.job} ready={tokenization.ready} />
      )}
      {job?.state === "failed" && job.error && (
        <p className="text-failed">
          {job.error.message} {job.error.hint}
        </p>
      )}
      <Facts
        facts={[
          ["Id", <Code key="id">{tokenization.id}</Code>],
          ["Tokenizer of", tokenization.model_name],
          ["Column", tokenization.text_column ?? "–"],
          ["Sequences", <Num key="sequences" value={tokenization.n_sequences} />],
          ["Tokens", <Num key="tokens" value={tokenization.n_tokens} />],
          ["On disk", <Bytes key="bytes" value={tokenization.bytes} />],
          ...(statistics
            ? ([
                [
                  "Rows used",
                  `${format.figure(statistics.rows_used)} of ${format.figure(statistics.rows_read)}`,
                ],
                [
                  "Left out",
                  Object.entries(statistics.dropped)
                    .map(([reason, count]) => `${format.figure(count)} ${dropWords(reason)}`)
                    .join(", ") || "nothing",
                ],
              ] as [string, React.ReactNode][])
            : []),
        ]}
      />
      {tokenization.ready && (
        <Button
          icon={<ChartColumn size={14} />}
          onClick={() => setSearch({ tab: "statistics", of: tokenization.id }, { push: true })}
        >
          All statistics
        </Button>
      )}
      <Section title="Settings">
        <SettingFacts settings={flat(tokenization.settings)} />
      </Section>
      {tokenization.ready && <UsedBy tokenization={tokenization} />}
      {tokenization.ready && <Sequences tokenization={tokenization} />}
    </div>
  );
}

/** The settings with the filters among them, those that are not set left out. */
function flat({ filters, ...settings }: Tokenization["settings"]): object {
  const all = Object.entries({ ...settings, ...filters });
  return Object.fromEntries(
    all
      .filter(([, value]) => value !== null && !(Array.isArray(value) && value.length === 0))
      .map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : value]),
  );
}

/** Values of the columns kept, of the row in which the sequence begins. */
function Kept({ values }: { values: Record<string, unknown> }) {
  if (Object.keys(values).length === 0) return null;
  return (
    <dl className="mb-2 grid max-h-40 grid-cols-[max-content_minmax(0,1fr)] gap-x-3 overflow-y-auto text-xs">
      {Object.entries(values).map(([name, value]) => (
        <Fragment key={name}>
          <dt className="font-mono text-muted">{name}</dt>
          <dd className="line-clamp-3 break-words">
            {value === null ? <span className="text-muted">null</span> : String(value)}
          </dd>
        </Fragment>
      ))}
    </dl>
  );
}

function Sequences({ tokenization }: { tokenization: Tokenization }) {
  const [index, setIndex] = useState(0);
  const last = Math.max(0, (tokenization.n_sequences ?? 1) - 1);
  const page = useQuery({
    queryKey: ["tokenizations", "sequences", tokenization.id, index],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/datasets/{dataset_id}/tokenizations/{key}/sequences", {
          params: {
            path: { dataset_id: tokenization.dataset_id, key: tokenization.id },
            query: { offset: index, limit: 1 },
          },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
  });
  const sequence = page.data?.items[0];
  return (
    <Section
      title={`Sequence ${format.figure(index)}`}
      actions={
        <>
          <IconButton label="Previous sequence" disabled={index === 0} onClick={() => setIndex(index - 1)}>
            <ChevronLeft size={15} />
          </IconButton>
          <IconButton label="Next sequence" disabled={index >= last} onClick={() => setIndex(index + 1)}>
            <ChevronRight size={15} />
          </IconButton>
        </>
      }
    >
      {page.error ? (
        <ErrorNote error={page.error} />
      ) : sequence ? (
        <>
          <p className="mb-2 text-xs text-muted">
            {format.plural(sequence.length, "token")} from row {sequence.row}, character {sequence.offset}
          </p>
          <Kept values={sequence.metadata ?? {}} />
          <TokenIds tokens={sequence.tokens} length={sequence.length} label={`Sequence ${index}`} />
        </>
      ) : (
        <SkeletonLines />
      )}
    </Section>
  );
}
