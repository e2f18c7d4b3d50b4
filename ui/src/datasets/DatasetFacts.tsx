import type { components } from "@/api/schema";
import { Bytes, Code, Facts, Num, RelativeTime } from "@/kit";

export type Dataset = components["schemas"]["DatasetOut"];

/** Where it came from, in words. */
export function sourceWords(source: Dataset["source"]): string {
  if (source.kind === "hub") {
    const parts = [source.repo, source.config, source.split].filter(Boolean).join(" / ");
    return `hub: ${parts}${source.revision === "main" ? "" : ` @ ${source.revision}`}`;
  }
  const uploaded = "uploaded" in source && source.uploaded ? "uploaded " : "";
  return `${uploaded}${source.kind}: ${source.path}`;
}

export function DatasetFacts({ dataset }: { dataset: Dataset }) {
  return (
    <Facts
      facts={[
        ["Id", <Code key="id">{dataset.id}</Code>],
        ["Source", sourceWords(dataset.source)],
        ["Rows", <Num key="rows" value={dataset.rows} />],
        ["On disk", <Bytes key="bytes" value={dataset.bytes} />],
        ["Text column", dataset.text_column ? <code key="text">{dataset.text_column}</code> : "–"],
        ["Columns", dataset.columns.map((column) => `${column.name} (${column.type})`).join(", ") || "–"],
        ["Tokenizations", <Num key="tokenizations" value={dataset.tokenization_count} />],
        ["Added", <RelativeTime key="added" at={dataset.created_at} />],
      ]}
    />
  );
}
