import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { ChevronLeft, ChevronRight, Dices } from "lucide-react";
import { useEffect, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { ErrorNote, format, IconButton, SkeletonLines } from "@/kit";
import type { Dataset } from "./DatasetFacts";
import { dropWords, rowDropWords } from "./filterWords";
import { TokenIds } from "./TokenIds";

export type TokenizationWanted = components["schemas"]["TokenizationCreate"];
type Preview = components["schemas"]["TokenizationPreview"];

const ROWS = 10;

/** What ten rows would become under the settings being typed: what is left out, and the sequences as stored. */
export function TokenizationPreview({
  dataset,
  wanted,
}: {
  dataset: Dataset;
  /** Null while a field is out of its range. */
  wanted: TokenizationWanted | null;
}) {
  const [first, setFirst] = useState(0);
  const [settled, setSettled] = useState(wanted);
  const shape = JSON.stringify(wanted && { ...wanted, name: null });
  useEffect(() => {
    const timer = setTimeout(() => setSettled(JSON.parse(shape) as TokenizationWanted | null), 150);
    return () => clearTimeout(timer);
  }, [shape]);
  const preview = useQuery({
    queryKey: ["datasets", dataset.id, "preview", settled, first],
    enabled: settled !== null,
    queryFn: ({ signal }) =>
      body(
        api.POST("/api/v1/datasets/{dataset_id}/tokenizations/preview", {
          params: { path: { dataset_id: dataset.id }, query: { offset: first, rows: ROWS, limit: 10 } },
          body: settled as TokenizationWanted,
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
    gcTime: 30_000,
  });
  const total = dataset.rows ?? 0;
  const random = () => setFirst(Math.floor(Math.random() * Math.max(1, total - ROWS)));
  return (
    <section aria-label="Preview" className="flex min-h-0 min-w-0 flex-col gap-3">
      <div className="flex items-center gap-1">
        <h3 className="mr-auto font-medium">
          Preview
          <span className="ml-2 text-xs font-normal text-muted">
            rows {format.figure(first)} to {format.figure(Math.max(first, Math.min(first + ROWS, total) - 1))}
            {preview.data && `, ${format.duration(preview.data.seconds)}`}
          </span>
        </h3>
        <IconButton label="Other rows, at random" disabled={total <= ROWS} onClick={random}>
          <Dices size={15} />
        </IconButton>
        <IconButton
          label="Rows before"
          disabled={first === 0}
          onClick={() => setFirst(Math.max(0, first - ROWS))}
        >
          <ChevronLeft size={15} />
        </IconButton>
        <IconButton
          label="Rows after"
          disabled={(preview.data?.next_offset ?? null) === null}
          onClick={() => setFirst(first + ROWS)}
        >
          <ChevronRight size={15} />
        </IconButton>
      </div>
      {preview.error ? (
        <ErrorNote error={preview.error} />
      ) : preview.data ? (
        <Shown data={preview.data} dim={preview.isPlaceholderData || wanted === null} />
      ) : (
        <SkeletonLines lines={8} />
      )}
    </section>
  );
}

function Shown({ data, dim }: { data: Preview; dim: boolean }) {
  const kept = data.rows.filter((row) => row.dropped === null).length;
  const others = Object.entries(data.dropped).filter(
    ([reason]) => !data.rows.some((row) => row.dropped === reason),
  );
  return (
    <div className={`flex min-h-0 flex-col gap-3 ${dim ? "opacity-60" : ""}`}>
      <table className="w-full table-fixed text-xs">
        <caption className="mb-1 text-left text-muted">
          {format.plural(kept, "row")} of {data.rows.length} kept
        </caption>
        <tbody>
          {data.rows.map((row) => (
            <tr key={row.index} className="border-t border-line">
              <td className="w-14 py-0.5 pr-2 text-right text-muted">{row.index}</td>
              <td className={`truncate py-0.5 ${row.dropped ? "text-faint line-through" : ""}`}>
                {row.text.trim() || "∅"}
              </td>
              <td className="w-56 truncate py-0.5 pl-2 text-right text-muted">
                {row.dropped ? (
                  <span className="text-warning">left out: {rowDropWords(row.dropped)}</span>
                ) : (
                  `${row.cut ? "over " : ""}${format.plural(row.tokens ?? 0, "token")}`
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <div className="text-xs text-muted">
        {data.n_sequences > data.items.length
          ? `The first ${data.items.length} of ${format.plural(data.n_sequences, "sequence")}`
          : format.plural(data.n_sequences, "sequence")}
        {others.map(([reason, count]) => `, ${format.figure(count)} ${dropWords(reason)}`)}
      </div>
      {data.items.length === 0 && (
        <p className="text-muted">No sequence: these rows are left out, or too short to fill one.</p>
      )}
      {data.items.map((sequence) => (
        <div key={sequence.index} className="rounded-[6px] border border-line bg-surface p-2">
          <div className="mb-1 flex gap-3 text-2xs text-muted">
            <span>sequence {sequence.index}</span>
            <span>{format.plural(sequence.length, "token")}</span>
            <span>
              from row {sequence.row}, character {sequence.offset}
            </span>
            {Object.entries(sequence.metadata ?? {}).map(([name, value]) => (
              <span key={name} className="truncate">
                {name}: {String(value)}
              </span>
            ))}
          </div>
          <TokenIds tokens={sequence.tokens} length={sequence.length} label={`Sequence ${sequence.index}`} />
        </div>
      ))}
    </div>
  );
}
