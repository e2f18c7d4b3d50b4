import type { ReactNode } from "react";
import type { components } from "@/api/schema";
import { Bytes, Code, Facts, format, Num, RelativeTime } from "@/kit";

export type Dataset = components["schemas"]["DatasetOut"];

/** Where it came from, in words; `short` for a path's last part only. */
export function sourceWords(source: Dataset["source"], short = false): string {
  if (source.kind === "hub") {
    const parts = [source.repo, source.config, source.split].filter(Boolean).join(" / ");
    return `hub: ${parts}${source.revision === "main" ? "" : ` @ ${source.revision}`}`;
  }
  const uploaded = "uploaded" in source && source.uploaded ? "uploaded " : "";
  return `${uploaded}${source.kind}: ${short ? source.path.replace(/^.*[\\/](?=.)/, "") : source.path}`;
}

const CHECKED = {
  files: "each fits its checksum on the hub",
  part: "in parts, for which the hub has no checksums",
};

/** Bytes on the disk, with statistics and search index; null until it is complete. */
export const onDisk = (dataset: Dataset) =>
  dataset.bytes === null ? null : dataset.bytes + dataset.survey_bytes;

export function DatasetFacts({ dataset }: { dataset: Dataset }) {
  const { about } = dataset;
  const facts: [string, ReactNode][] = [
    ["Id", <Code key="id">{dataset.id}</Code>],
    ["Source", sourceWords(dataset.source)],
  ];
  if (about?.commit) facts.push(["Commit", <Code key="commit">{about.commit}</Code>]);
  if (dataset.source.kind === "hub" && about)
    facts.push([
      "License",
      about?.license ?? (
        <span key="license" className="text-muted">
          none named
        </span>
      ),
    ]);
  if (about && about.languages.length > 0) facts.push(["Languages", about.languages.join(", ")]);
  facts.push(["Rows", <Num key="rows" value={dataset.rows} />]);
  if (dataset.source.max_rows)
    facts.push(["Limited to", <Num key="limit" value={dataset.source.max_rows} unit="rows" />]);
  facts.push([
    "On disk",
    <span key="bytes">
      <Bytes value={onDisk(dataset)} />
      {dataset.survey_bytes > 0 && (
        <span className="text-muted">
          , of it statistics and search index {format.bytes(dataset.survey_bytes)}
        </span>
      )}
    </span>,
  ]);
  if (about)
    facts.push([
      "Read from",
      <span key="read">
        {format.amount(about.files)} {about.files === 1 ? "file" : "files"},{" "}
        {about.fetched_bytes != null && `${format.bytes(about.fetched_bytes)} of `}
        {format.bytes(about.source_bytes)}
        {about.verified && <span className="text-muted">, {CHECKED[about.verified]}</span>}
      </span>,
    ]);
  facts.push(["Text column", dataset.text_column ? <code key="text">{dataset.text_column}</code> : "–"]);
  if (dataset.tags.length > 0) facts.push(["Tags", dataset.tags.join(", ")]);
  facts.push(
    ["Tokenizations", <Num key="tokenizations" value={dataset.tokenization_count} />],
    ["Added", <RelativeTime key="added" at={dataset.created_at} />],
  );
  return <Facts facts={facts} />;
}
