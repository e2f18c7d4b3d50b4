import { useQuery } from "@tanstack/react-query";
import { Dices } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { useRefetchOn } from "@/api/useChannel";
import { Button, Empty, format, IconButton, SearchField, useKeys, useUrlState } from "@/kit";
import type { Dataset } from "./DatasetFacts";
import { AllRows, FoundRows, type Search } from "./SampleRows";
import { SearchIndexState } from "./SearchIndexState";
import { WholeRow } from "./WholeRow";

const MODES = {
  words: [
    "Words",
    'All of these words, whatever their case and accents: "a phrase", begin*, -without, this OR that',
  ],
  text: ["Exact text", "Exactly this text, ignoring case"],
  regex: ["Regex", "A regular expression (RE2), ignoring case"],
} as const;

const LINES = [1, 3, 8];

/** The rows themselves: paged through, searched, jumped to; one at a time in full at the side. */
export function Samples({ dataset }: { dataset: Dataset }) {
  const [q, setQ] = useUrlState("rows", "");
  const [mode, setMode] = useUrlState("mode", "words");
  const [order, setOrder] = useUrlState("order", "row");
  const [lines, setLines] = useUrlState("lines", 1);
  const [opened, setOpen] = useUrlState("row", -1);
  const open = opened >= 0 ? opened : null;
  const close = () => setOpen(-1);
  useKeys("Side panel", [{ keys: "escape", label: "close the side panel", run: close }], open !== null);
  const index = useQuery({
    queryKey: ["dataset_search", dataset.id],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/datasets/{dataset_id}/search-index", {
          params: { path: { dataset_id: dataset.id } },
          signal,
        }),
      ),
  });
  useRefetchOn(`dataset_search/${dataset.id}`, ["dataset_search", dataset.id]);
  const random = async () => {
    try {
      const row = await body(
        api.GET("/api/v1/datasets/{dataset_id}/rows/random", {
          params: { path: { dataset_id: dataset.id } },
        }),
      );
      setOpen(row.index);
    } catch (error) {
      toast.error(Problem.from(error).detail);
    }
  };
  const goTo = useRef<HTMLInputElement>(null);
  useKeys(
    "Rows",
    [
      { keys: "r", label: "a random row", run: () => void random() },
      { keys: "#", label: "go to a row by its number", run: () => goTo.current?.focus() },
    ],
    dataset.ready,
  );
  if (!dataset.ready) return <Empty title="The rows are shown once the data set is complete" />;
  const search: Search = {
    q: q.trim(),
    mode: mode in MODES ? (mode as Search["mode"]) : "words",
    order: order === "rank" && mode === "words" && index.data?.ready ? "rank" : "row",
    indexed: index.data?.ready ?? false,
  };
  const table = {
    dataset,
    lines: LINES.includes(lines) ? lines : 1,
    open,
    onPreview: (row: { index: number } | null) => setOpen(row?.index ?? -1),
  };
  return (
    <div className="relative flex min-h-0 flex-1">
      <div className="flex min-w-0 flex-1 flex-col">
        <div className="flex min-h-11 shrink-0 flex-wrap items-center gap-2 px-5 py-2">
          <SearchField value={q} onChange={setQ} label="Search rows" />
          <fieldset aria-label="How to search" className="flex rounded-[5px] border border-line-strong">
            {Object.entries(MODES).map(([one, [label, hint]]) => (
              <Button
                key={one}
                aria-pressed={search.mode === one}
                look="quiet"
                size="h-[26px] px-2"
                hint={hint}
                className={search.mode === one ? "bg-accent-wash text-ink" : ""}
                onClick={() => setMode(one)}
              >
                {label}
              </Button>
            ))}
          </fieldset>
          {search.q && search.mode === "words" && search.indexed && (
            <select
              aria-label="Order of the rows found"
              className="field w-[108px]"
              value={search.order}
              onChange={(event) => setOrder(event.target.value)}
            >
              <option value="row">row order</option>
              <option value="rank">best match</option>
            </select>
          )}
          <span className="flex-1" />
          <select
            aria-label="Lines of text in a row"
            className="field w-[78px]"
            value={lines}
            onChange={(event) => setLines(Number(event.target.value))}
          >
            {LINES.map((one) => (
              <option key={one} value={one}>
                {format.plural(one, "line")}
              </option>
            ))}
          </select>
          <SearchIndexState dataset={dataset} index={index.data} />
          <GoTo rows={dataset.rows ?? 0} input={goTo} onGo={setOpen} />
          <IconButton label="A random row ( r )" onClick={() => void random()}>
            <Dices size={16} />
          </IconButton>
        </div>
        {search.q ? (
          <FoundRows key={JSON.stringify(search)} search={search} {...table} />
        ) : (
          <AllRows {...table} />
        )}
      </div>
      {open !== null && (
        <WholeRow dataset={dataset} index={open} search={search} onGo={setOpen} onClose={close} />
      )}
    </div>
  );
}

/** Jump to a row by its number. */
function GoTo({
  rows,
  input,
  onGo,
}: {
  rows: number;
  input: React.RefObject<HTMLInputElement | null>;
  onGo: (row: number) => void;
}) {
  const [text, setText] = useState("");
  const row = Number(text.replaceAll(/[\s,_\u2009]/g, ""));
  const wrong = text !== "" && !(Number.isInteger(row) && row >= 0 && row < rows);
  const [said, setSaid] = useState(false);
  useEffect(() => {
    if (!wrong) setSaid(false);
  }, [wrong]);
  return (
    <form
      className="relative"
      onSubmit={(event) => {
        event.preventDefault();
        if (wrong) setSaid(true);
        else if (text !== "") {
          onGo(row);
          setText("");
          input.current?.blur();
        }
      }}
    >
      <input
        ref={input}
        aria-label="Go to row"
        aria-invalid={wrong || undefined}
        className="field w-[112px]"
        inputMode="numeric"
        placeholder="Go to row ( # )"
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      {said && (
        <div
          role="alert"
          className="absolute top-8 right-0 z-20 w-max rounded-[5px] border border-line bg-raised px-2 py-1 text-xs shadow-pop"
        >
          Rows are 0 to {format.exact(rows - 1)}
        </div>
      )}
    </form>
  );
}
