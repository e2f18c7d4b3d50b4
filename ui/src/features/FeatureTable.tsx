import { useNavigate } from "@tanstack/react-router";
import { Star, X } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import {
  Button,
  type Column,
  DataTable,
  Empty,
  format,
  IconButton,
  Num,
  SearchField,
  SidePanel,
  tip,
  useKeys,
  usePages,
  useUrlState,
} from "@/kit";
import { changeFeature } from "./changes";
import { FeatureGlance } from "./FeatureGlance";
import { FilterBar } from "./FilterBar";
import { type Extraction, type FeatureRow, fetchFeatures, useFeatureQuery } from "./query";
import { SourceMark } from "./SourceMark";
import { TokenChips } from "./TokenChips";

/** Thousands of latents: sorted, filtered and searched by the server, a page at a time as they come into view. */
export function FeatureTable({ extraction }: { extraction: Extraction }) {
  const { id } = extraction;
  const navigate = useNavigate();
  const { query, set, filtered, clear } = useFeatureQuery();
  const [open, setOpen] = useUrlState("open", -1);
  const [looked, setLooked] = useState<FeatureRow | null>(null);
  const source = usePages<FeatureRow>(["features", id, "list", query], (offset, limit, signal) =>
    fetchFeatures(id, query, offset, limit, signal),
  );
  const narrow = open >= 0;
  const columns = useMemo(
    // Beside the panel there is no room for what it shows itself.
    () => featureColumns(id).filter((column) => !narrow || column.id !== "mean"),
    [id, narrow],
  );
  const close = () => setOpen(-1);
  useKeys("Side panel", [{ keys: "escape", label: "close the side panel", run: close }], open >= 0);
  // Rows in view are the ones that can be opened: their place is where the list's own pages have them.
  const at = useRef(new Map<number, number>());
  const place = (row: FeatureRow) => {
    for (let index = 0; index < (source.total ?? 0); index++) {
      const found = source.row(index);
      if (found) at.current.set(found.index, index);
    }
    return at.current.get(row.index);
  };
  const openPage = (row: FeatureRow) =>
    void navigate({
      to: "/features/$id/$index",
      params: { id, index: String(row.index) },
      search: { ...query, at: place(row) } as never,
    });
  return (
    <div className="relative flex min-h-0 flex-1">
      <div className="flex min-w-0 flex-1 flex-col">
        <div className="flex min-h-11 shrink-0 flex-wrap items-center gap-2 px-5 py-2">
          <div className="w-60">
            <SearchField value={query.q ?? ""} onChange={(q) => set({ q })} label="Search, or #number" />
          </div>
          <FilterBar query={query} set={set} />
          {filtered && (
            <Button look="quiet" icon={<X size={14} />} onClick={clear}>
              Clear filters
            </Button>
          )}
          <span className="ml-auto text-muted" aria-live="polite">
            {source.total !== undefined && format.plural(source.total, "feature")}
          </span>
        </div>
        <DataTable
          label="Features"
          columns={columns}
          source={source}
          id={(row) => String(row.index)}
          sort={query.sort}
          onSort={(sort) => set({ sort })}
          onOpen={openPage}
          onPreview={(row) => {
            setLooked(row);
            setOpen(row?.index ?? -1);
          }}
          previewed={open >= 0 ? String(open) : null}
          empty={
            query.q || filtered ? (
              <p className="px-5 py-10 text-center text-muted">
                No feature fits{query.q ? ` “${query.q}”` : ""}
                {filtered ? " and these filters" : ""}.
              </p>
            ) : (
              <Empty title="No features" />
            )
          }
        />
      </div>
      {open >= 0 && (
        <SidePanel
          title={`#${open}`}
          onClose={close}
          actions={
            <Button
              size="h-6 px-2"
              hint="The whole page (Enter)"
              onClick={() => {
                if (looked?.index === open) openPage(looked);
                else
                  void navigate({
                    to: "/features/$id/$index",
                    params: { id, index: String(open) },
                    search: { ...query } as never,
                  });
              }}
            >
              Open
            </Button>
          }
        >
          <FeatureGlance extraction={extraction} index={open} />
        </SidePanel>
      )}
    </div>
  );
}

function featureColumns(id: string): Column<FeatureRow>[] {
  return [
    {
      id: "index",
      header: "Index",
      width: "72px",
      align: "right",
      sort: "index",
      descendingFirst: false,
      cell: (row) => <span className="font-mono text-xs">{row.index}</span>,
    },
    {
      id: "label",
      header: "Label",
      width: "minmax(150px, 2fr)",
      sort: "label",
      descendingFirst: true,
      cell: (row) =>
        row.label ? (
          <span className="flex min-w-0 items-center gap-1.5">
            <SourceMark source={row.label_source} score={row.label_score} words={false} />
            <span className="truncate" {...tip(row.label.length > 40 ? row.label : null)}>
              {row.label}
            </span>
          </span>
        ) : (
          <span className="text-faint">–</span>
        ),
    },
    {
      id: "tokens",
      header: "Strongest tokens",
      width: "minmax(120px, 2fr)",
      cell: (row) => <TokenChips tokens={row.top_tokens} />,
    },
    {
      id: "frequency",
      header: "Frequency",
      width: "92px",
      align: "right",
      sort: "frequency",
      hint: "Share of tokens on which it is active",
      cell: (row) => (
        <span {...tip(`${format.exact(row.frequency)} of the tokens (${row.density})`)}>
          {format.percent(row.frequency)}
        </span>
      ),
    },
    {
      id: "max",
      header: "Maximum",
      width: "92px",
      align: "right",
      sort: "max_activation",
      cell: (row) => <Num value={row.max_activation} />,
    },
    {
      id: "mean",
      header: "Mean",
      width: "72px",
      align: "right",
      sort: "mean_activation",
      hint: "Mean activation where it is active",
      cell: (row) => <Num value={row.mean_activation} />,
    },
    {
      id: "score",
      header: "Score",
      width: "66px",
      align: "right",
      sort: "label_score",
      hint: "How well the label tells held-out examples from other text: 0.5 is chance, 1 is perfect",
      cell: (row) => <Num value={row.label_score} />,
    },
    {
      id: "starred",
      header: "Star",
      width: "56px",
      sort: "starred",
      descendingFirst: true,
      cell: (row) => (
        <IconButton
          label={row.starred ? `Take the star from ${row.index}` : `Star ${row.index}`}
          size="size-6"
          aria-pressed={row.starred}
          onClick={() => void changeFeature(id, row, { starred: !row.starred })}
        >
          <Star size={14} className={row.starred ? "fill-current text-warning" : "text-faint"} />
        </IconButton>
      ),
    },
  ];
}
