import type { ReactNode } from "react";
import type { components } from "@/api/schema";
import { format, tip } from "@/kit";
import { Markdown } from "@/kit/Markdown";

export type DatasetPreview = components["schemas"]["DatasetPreview"];

const splitOf = ({ about, config, split }: DatasetPreview) =>
  about.configurations.find((one) => one.name === config)?.splits.find((one) => one.name === split);

/** About how many bytes the first `limit` rows (all, where null) take at the source; null where nobody knows. */
export function bytesOf(preview: DatasetPreview, limit: number | null): number | null {
  const all = preview.about.source_bytes;
  if (limit === null) return all;
  const rows = splitOf(preview)?.rows;
  return rows ? Math.min(all, Math.round((all * limit) / rows)) : null;
}

/** One line about a source: license, files, size, rows. */
export function aboutWords(preview: DatasetPreview): string {
  const { about } = preview;
  const split = splitOf(preview);
  return [
    `${format.amount(about.files)} ${about.files === 1 ? "file" : "files"}`,
    format.bytes(about.source_bytes),
    split?.rows ? `${format.figure(split.rows)} rows` : "",
    about.license ? `license ${about.license}` : about.commit ? "no license named" : "",
    about.gated ? "gated" : "",
    about.languages.length > 0 && about.languages.length <= 6 ? about.languages.join(", ") : "",
  ]
    .filter(Boolean)
    .join(" · ");
}

/** What would be added: its first rows with the columns and their types, and what its authors say. */
export function PreviewPanel({ preview, children }: { preview: DatasetPreview; children?: ReactNode }) {
  return (
    <section aria-label="Preview" className="flex flex-col gap-3">
      <div className="flex flex-wrap items-center gap-x-4 gap-y-1">
        <span className="text-muted">{aboutWords(preview)}</span>
        {preview.about.commit && (
          <code className="text-muted" {...tip(preview.about.commit)}>
            @{preview.about.commit.slice(0, 7)}
          </code>
        )}
      </div>
      {children}
      <RowsTable preview={preview} />
      {preview.card && (
        <details className="rounded-[6px] border border-line">
          <summary className="cursor-pointer px-3 py-1.5 text-muted hover:text-ink">Data set card</summary>
          <div className="max-h-72 overflow-y-auto border-t border-line px-4 py-3">
            <Markdown text={preview.card} />
          </div>
        </details>
      )}
    </section>
  );
}

/** The first rows, each column with its type. */
function RowsTable({ preview }: { preview: DatasetPreview }) {
  if (preview.rows.length === 0) return <p className="text-muted">There are no rows.</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls sideways and must be reachable by keyboard.
    <div tabIndex={0} className="max-h-48 overflow-auto rounded-[6px] border border-line">
      <table className="w-full border-collapse text-xs">
        <caption className="sr-only">First rows</caption>
        <thead>
          <tr className="sticky top-0 bg-sunken text-left">
            {preview.columns.map((column) => (
              <th key={column.name} scope="col" className="px-2 py-1 font-medium whitespace-nowrap">
                {column.name}{" "}
                <span className="font-normal text-muted" {...tip(column.type)}>
                  {preview.chat_columns.includes(column.name) ? "chat" : shortType(column.type)}
                </span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {preview.rows.map((row) => (
            <tr key={row.index} className="border-t border-line/60 align-top">
              {preview.columns.map((column) => (
                <td key={column.name} className="max-w-96 min-w-16 px-2 py-1">
                  <div className="line-clamp-3 break-words">{shown(row.values[column.name])}</div>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A type in a word: "list<struct<…>>" is a list. */
export function shortType(type: string): string {
  return /^(list|struct|map)</.exec(type)?.[1] ?? type;
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}
