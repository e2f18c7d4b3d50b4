import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { ChevronLeft, ChevronRight } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import { JobCell } from "@/jobs/JobState";
import { useJob } from "@/jobs/live";
import {
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
  TokenStrip,
} from "@/kit";
import type { Tokenization } from "./Tokenizations";

/** A tokenization: its progress or its figures, the settings that made it, its sequences. */
export function TokenizationDetail({ tokenization }: { tokenization: Tokenization }) {
  const job = useJob(tokenization.job);
  const { statistics } = tokenization;
  const dropped = Object.entries(statistics?.dropped ?? {}).filter(([, count]) => count > 0);
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
                  "Vocabulary used",
                  <Num key="vocabulary" value={statistics.vocabulary_used} unit="distinct tokens" />,
                ],
                [
                  "Characters a token",
                  <Num
                    key="density"
                    value={statistics.characters / Math.max(1, tokenization.n_tokens ?? 1)}
                  />,
                ],
                ["Special tokens", <Num key="special" value={statistics.special_tokens} />],
                ["Unknown tokens", <Num key="unknown" value={statistics.unknown_tokens} />],
                ["Padding", <Num key="padding" value={statistics.padding_tokens} unit="tokens" />],
              ] as [string, React.ReactNode][])
            : []),
          ...dropped.map(([reason, count]): [string, React.ReactNode] => [
            `Left out: ${reason.replaceAll("_", " ")}`,
            <Num key={reason} value={count} />,
          ]),
        ]}
      />
      <Section title="Settings">
        <SettingFacts settings={tokenization.settings} />
      </Section>
      {tokenization.ready && <Sequences tokenization={tokenization} />}
    </div>
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
        <TokenStrip
          label={`Sequence ${index}`}
          tokens={sequence.tokens.map((token) => token.text)}
          note={(at) => `id ${sequence.tokens[at]?.id}, position ${at}`}
          bounds
        />
      ) : (
        <SkeletonLines />
      )}
    </Section>
  );
}
