import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { useId, useState } from "react";
import { api, body } from "@/api/client";
import { Button, ErrorNote, format, Num, SkeletonLines, TokenStrip } from "@/kit";
import type { Feature } from "./query";

type Example = Feature["examples"][number];

/** A feature's examples, one line each, by how strongly it fires. */
export function Examples({ feature, datasetId }: { feature: Feature; datasetId: string | null }) {
  const [a, b, c] = feature.quantiles.map((border) => format.figure(border));
  const groups: [group: Example["group"], title: string, range: string][] = [
    ["top", "Strongest", `up to ${format.figure(feature.row.max_activation)}`],
    ["q4", "Strongest quarter", `from ${c}, at random`],
    ["q3", "Third quarter", `${b} to ${c}, at random`],
    ["q2", "Second quarter", `${a} to ${b}, at random`],
    ["q1", "Weakest quarter", `up to ${a}, at random`],
  ];
  if (feature.examples.length === 0)
    return (
      <p className="py-10 text-center text-muted">
        It never fired on the {format.figure(feature.n_tokens)} tokens that were read.
      </p>
    );
  return (
    <div className="flex flex-col gap-4">
      {groups.map(([group, title, range]) => {
        const examples = feature.examples.filter((one) => one.group === group);
        if (examples.length === 0) return null;
        return (
          <section key={group} aria-label={title}>
            <h2 className="mb-1 text-xs">
              <span className="font-medium">{title}</span> <span className="text-muted">{range}</span>
            </h2>
            <ul>
              {examples.map((example) => (
                <Line
                  key={`${example.sequence}-${example.position}`}
                  example={example}
                  max={feature.row.max_activation}
                  datasetId={datasetId}
                />
              ))}
            </ul>
          </section>
        );
      })}
    </div>
  );
}

function Line({ example, max, datasetId }: { example: Example; max: number; datasetId: string | null }) {
  const [open, setOpen] = useState(false);
  const id = useId();
  const mark = example.position - example.window_start;
  const label = `Strongest ${format.figure(example.strongest)} on “${(example.tokens[mark] ?? "").trim()}”`;
  const note = (token: number) =>
    `Token ${example.token_ids[token]}, position ${example.window_start + token}`;
  return (
    <li className="border-b border-line/60">
      <div className={`flex h-6 items-center gap-2 ${open ? "" : "hover:bg-hover"}`}>
        <button
          type="button"
          aria-expanded={open}
          aria-controls={id}
          aria-label={`${label}: ${open ? "close" : "open"} the passage`}
          onClick={() => setOpen(!open)}
          className="flex h-full shrink-0 items-center gap-1 rounded-[3px] text-muted hover:text-ink"
        >
          <ChevronRight size={13} className={open ? "rotate-90" : ""} />
          <span className="w-10 text-right text-xs">
            <Num value={example.strongest} of="Strongest activation" />
          </span>
        </button>
        {/* The pointer may open the passage anywhere on the line; the keyboard has the button. */}
        {/* biome-ignore lint/a11y/noStaticElementInteractions: as above. */}
        {/* biome-ignore lint/a11y/useKeyWithClickEvents: as above. */}
        <div className="min-w-0 flex-1 cursor-pointer" onClick={() => setOpen(!open)}>
          {open ? (
            <span className="text-xs text-muted">
              sequence {example.sequence}, token {example.position}
            </span>
          ) : (
            <TokenStrip
              label={label}
              tokens={example.tokens}
              values={example.activations}
              max={max}
              mark={mark}
              oneLine
              centred
              note={note}
            />
          )}
        </div>
      </div>
      {open && (
        <div id={id} className="pb-3 pl-[62px]">
          <TokenStrip
            label={label}
            tokens={example.tokens}
            values={example.activations}
            max={max}
            mark={mark}
            note={note}
          />
          <Source example={example} datasetId={datasetId} />
        </div>
      )}
    </li>
  );
}

/** Where the passage comes from, and the whole of it. */
function Source({ example, datasetId }: { example: Example; datasetId: string | null }) {
  const [whole, setWhole] = useState(false);
  const { row } = example;
  const text = useQuery({
    queryKey: ["datasets", datasetId, "row", row],
    enabled: whole && datasetId !== null && row !== null,
    queryFn: async ({ signal }) => {
      const path = { dataset_id: datasetId ?? "" };
      const [dataset, found] = await Promise.all([
        body(api.GET("/api/v1/datasets/{dataset_id}", { params: { path }, signal })),
        body(
          api.GET("/api/v1/datasets/{dataset_id}/rows/{index}", {
            params: { path: { ...path, index: row ?? 0 } },
            signal,
          }),
        ),
      ]);
      return String(found.values[dataset.text_column ?? "text"] ?? "");
    },
  });
  if (row === null || datasetId === null) return null;
  return (
    <div className="mt-2 flex flex-col gap-2">
      <div className="flex items-center gap-3 text-xs text-muted">
        <span>
          From row {row} of the{" "}
          <Link
            to="/datasets/$id"
            params={{ id: datasetId }}
            search={{ tab: "samples" } as never}
            className="text-accent underline"
          >
            data set
          </Link>
          {example.offset !== null && `; its sequence begins at character ${format.figure(example.offset)}`}
        </span>
        <Button size="h-6 px-2" onClick={() => setWhole(!whole)}>
          {whole ? "Hide the row" : "Show the whole row"}
        </Button>
      </div>
      {whole && text.error && <ErrorNote error={text.error} onRetry={() => void text.refetch()} />}
      {whole && text.isPending && <SkeletonLines lines={3} />}
      {whole && text.data !== undefined && (
        <div
          // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard.
          tabIndex={0}
          className="max-h-64 overflow-y-auto rounded-[6px] border border-line bg-sunken p-3 whitespace-pre-wrap"
        >
          {text.data}
        </div>
      )}
    </div>
  );
}
