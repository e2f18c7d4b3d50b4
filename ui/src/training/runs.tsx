/** The list of runs: its fields as the server names them, and how their values look. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { JobCell } from "@/jobs/JobState";
import { isActive, useJob } from "@/jobs/live";
import { Bytes, type Column, cutTip, format, Num, Percent, RelativeTime, StateBadge, tip } from "@/kit";

import { useNewest } from "./useMetrics";
import { hookWords, settingWords } from "./words";

export type RunField = components["schemas"]["FieldOut"];
export type ListedRun = components["schemas"]["ListedTraining"];
export type RunGroup = components["schemas"]["TrainingGroup"];
export type RunView = components["schemas"]["ViewOut"];
export type Value = ListedRun["values"][string];

export const USUAL_COLUMNS = [
  "state",
  "model",
  "hook",
  "architecture",
  "d_sae",
  "fvu",
  "l0",
  "dead_fraction",
  "created",
];

/** What a setting or figure is called, by the name or path under which it is kept. */
export function useFieldTitles(): (name: string) => string {
  const known = useRunFields();
  return (name) => known?.byName.get(name)?.title ?? format.sentence(name.slice(name.lastIndexOf(".") + 1));
}

/** A row of the list: a run, or the head of a group. */
export type Row = { run: ListedRun; group?: undefined } | { group: RunGroup; open: boolean; run?: undefined };

/** Everything that runs are listed by. */
export function useRunFields(): { fields: RunField[]; byName: Map<string, RunField> } | undefined {
  const { data } = useQuery({
    queryKey: ["training fields"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/trainings/fields", { signal })),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return useMemo(
    () =>
      data && {
        fields: data,
        byName: new Map(data.flatMap((field) => [...field.aliases, field.name].map((name) => [name, field]))),
      },
    [data],
  );
}

/** Heads of columns that would be wider than what stands beneath. */
const SHORT: Record<string, string> = {
  d_sae: "Width",
  d_in: "d_in",
  k: "k",
  dead_fraction: "Dead",
  dense_fraction: "Dense",
  "held_out.dead_fraction": "Dead",
  "held_out.dense_fraction": "Dense",
  explained_variance: "EV",
  "held_out.explained_variance": "EV",
  total_tokens: "Tokens",
  aux_k: "AuxK",
  target_l0: "Target L0",
  tokens_per_second: "Speed",
};

/** What a field is called where there is little room. */
export const shortTitle = (field: { name: string; title: string }) => SHORT[field.name] ?? field.title;

const WIDTHS: Record<string, string> = {
  state: "minmax(118px, 0.9fr)",
  model: "minmax(84px, 0.8fr)",
  hook: "minmax(112px, 1fr)",
  architecture: "minmax(88px, 0.6fr)",
  tag: "minmax(110px, 1fr)",
  notes: "minmax(140px, 1.4fr)",
  sweep: "minmax(120px, 1fr)",
  dataset: "minmax(110px, 1fr)",
  tokenization: "minmax(110px, 1fr)",
  fvu: "76px",
  dead_fraction: "72px",
  tokens_per_second: "122px",
  id: "170px",
  disk: "84px",
  duration: "104px",
  memory_bytes: "84px",
  sae: "60px",
};

/** A field as a column of the table. */
export function runColumn(field: RunField, onTag: (tag: string) => void): Column<Row> {
  const right = field.kind === "number";
  const title = shortTitle(field);
  return {
    id: field.name,
    header: field.group === "On held-out tokens" ? `${title}, held out` : title,
    width:
      WIDTHS[field.name] ??
      (right
        ? `${Math.max(60, 24 + (title.length + (field.group === "On held-out tokens" ? 10 : 0)) * 6.6)}px`
        : "minmax(90px, 1fr)"),
    align: right ? "right" : "left",
    sort: field.sortable ? field.name : undefined,
    descendingFirst: field.kind === "time" || (right && field.better !== "lower"),
    hint: [
      field.title,
      field.description,
      field.formula && `= ${field.formula}`,
      field.unit && `In ${field.unit}.`,
      `Filter: ${field.name}`,
    ]
      .filter(Boolean)
      .join("\n"),
    cell: (row) => {
      if (row.group) {
        const best = row.group.best[field.name];
        return best === undefined || best === null ? null : (
          <span {...tip(`The ${field.better === "higher" ? "highest" : "lowest"} of these`)}>
            <Figure field={field} value={best} />
          </span>
        );
      }
      return <Cell field={field} run={row.run} onTag={onTag} />;
    },
  };
}

function Cell({ field, run, onTag }: { field: RunField; run: ListedRun; onTag: (tag: string) => void }) {
  const value = run.values[field.name];
  if (field.name === "state") return <RunState run={run} />;
  if (field.group === "Last recorded") return <Live field={field} run={run} />;
  if (field.name === "tag") return <Tags tags={run.tags} onTag={onTag} />;
  if (field.name === "id") return <code>{String(value)}</code>;
  if (field.name === "hook") return <code {...tip(run.hook)}>{hookWords(run.hook)}</code>;
  if (field.name === "sae")
    return value ? (
      <Link to="/saes/$id" params={{ id: String(value) }} className="link">
        open
      </Link>
    ) : (
      <None />
    );
  if (field.name === "sweep")
    return run.sweep_size > 1 ? (
      <Link to="/sweeps/$id" params={{ id: run.sweep_id }} className="link">
        {value}
      </Link>
    ) : (
      <None />
    );
  return <Figure field={field} value={value} />;
}

const None = () => <span className="text-faint">–</span>;

/** A value of a field, as such values are read. */
export function Figure({ field, value }: { field: RunField; value: Value | undefined }) {
  if (value === null || value === undefined) return <None />;
  if (Array.isArray(value)) return <span {...tip(value.join("\n"))}>{value.join(", ")}</span>;
  if (field.kind === "flag") return <>{value ? "yes" : "no"}</>;
  if (field.kind === "time") return <RelativeTime at={String(value)} />;
  if (field.kind === "choice" || field.name === "prefix_fractions")
    return <>{settingWords(field.name, value)}</>;
  if (typeof value !== "number") return <span {...cutTip(String(value))}>{String(value)}</span>;
  if (field.group === "Settings")
    return <span {...tip(settingWords(field.name, value))}>{format.given(value)}</span>;
  if (field.unit === "bytes") return <Bytes value={value} />;
  if (field.unit === "s") return <span {...tip(`${format.exact(value)} s`)}>{format.duration(value)}</span>;
  if (field.name.endsWith("dead_fraction") || field.name.endsWith("dense_fraction"))
    return <Percent value={value} />;
  return <Num value={value} unit={field.unit === "tokens/s" ? field.unit : undefined} />;
}

/** What a group shares, in words. */
export function groupWords(field: RunField | undefined, value: Value): string {
  if (value === null) return `no ${field?.title.toLowerCase() ?? "value"}`;
  if (field?.kind === "flag") return `${field.title}: ${value ? "yes" : "no"}`;
  if (field?.kind === "choice" || field?.name === "hook") return settingWords(field.name, value);
  if (typeof value === "number") return `${field?.title ?? ""} ${format.given(value)}`;
  return String(value);
}

/** A run's own state: of a sweep it may be the only one that failed. */
export function RunState({ run }: { run: ListedRun }) {
  if (run.state === "failed" && run.job?.state !== "failed") {
    const error = run.error as { message?: string; hint?: string | null } | null;
    return (
      <span {...tip([error?.message, error?.hint].filter(Boolean).join("\n"))}>
        <StateBadge state="failed" />
      </span>
    );
  }
  return <JobCell job={run.job} done />;
}

/** A metric as it is now: while the run trains from its events, else as it was last recorded. */
function Live({ field, run }: { field: RunField; run: ListedRun }) {
  const job = useJob(run.job);
  const newest = useNewest(isActive(job) ? run.id : null);
  const name = field.name.replace(/^metric\./, "");
  return <Figure field={field} value={newest?.[name] ?? run.values[field.name]} />;
}

export function Tags({ tags, onTag }: { tags: string[]; onTag: (tag: string) => void }) {
  if (tags.length === 0) return null;
  return (
    <span className="flex gap-1 overflow-hidden">
      {tags.map((tag) => (
        <button
          key={tag}
          type="button"
          onClick={() => onTag(tag)}
          className="shrink-0 rounded-[4px] bg-sunken px-1.5 text-xs leading-5 text-muted hover:text-ink"
          {...tip(`Only runs with the tag “${tag}”`)}
        >
          {tag}
        </button>
      ))}
    </span>
  );
}
