import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { ChevronDown, ChevronRight, GitCompareArrows, Plus, Star } from "lucide-react";
import { useCallback, useMemo, useState } from "react";
import { api, body } from "@/api/client";
import { useRefetchOn } from "@/api/useChannel";
import {
  Button,
  type Column,
  DataTable,
  Empty,
  format,
  LongName,
  PageHeader,
  SidePanel,
  tip,
  useKeys,
  usePages,
  useUrlState,
} from "@/kit";
import { quoted, withCondition } from "./filterCompletion";
import { RunsBulk } from "./RunsBulk";
import { RunsColumns } from "./RunsColumns";
import { RunsFilter } from "./RunsFilter";
import { RunsViews } from "./RunsViews";
import {
  groupWords,
  type ListedRun,
  type Row,
  type RunField,
  runColumn,
  Tags,
  USUAL_COLUMNS,
  useRunFields,
} from "./runs";
import { groupKey, useGroupedRows } from "./runsSource";
import { TrainingFacts } from "./TrainingFacts";

const GROUPS = ["model", "sweep", "architecture", "layer", "hook", "state", "d_sae"];
const NO_FIELDS: RunField[] = [];

/** All runs: filtered, sorted and grouped by anything that they have, in columns of one's choice. */
export function TrainingsPage() {
  const navigate = useNavigate();
  const known = useRunFields();
  const [filter, setFilter] = useUrlState("filter", "");
  const [sort, setSort] = useUrlState("sort", "-created");
  const [group, setGroup] = useUrlState("group", "");
  const [cols, setCols] = useUrlState("cols", "");
  const [open, setOpen] = useUrlState("open", "");
  const [looked, setLooked] = useState<ListedRun | null>(null);
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const chosen = useMemo(() => (cols ? cols.split(",") : USUAL_COLUMNS), [cols]);
  const list = usePages<ListedRun>(
    ["trainings", "list", filter, sort, group, cols],
    (offset, limit, signal) =>
      body(
        api.GET("/api/v1/trainings", {
          params: { query: { filter, sort, group, columns: [...chosen], offset, limit } },
          signal,
        }),
      ),
  );
  const groups = useQuery({
    queryKey: ["trainings", "groups", group, filter],
    enabled: group !== "",
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/trainings/groups", { params: { query: { by: group, filter } }, signal })),
  });
  useRefetchOn("trainings", ["trainings"]);
  const problem = list.error?.code === "filter_invalid" ? list.error : null;
  const source = useGroupedRows(
    problem ? { ...list, total: list.total ?? 0, error: null } : list,
    group ? groups.data?.groups : undefined,
    closed,
  );
  const toggle = useCallback((row: Row) => {
    if (!row.group) return;
    const key = groupKey(row.group);
    setClosed((now) => {
      const next = new Set(now);
      if (!next.delete(key)) next.add(key);
      return next;
    });
  }, []);
  const onTag = useCallback(
    (tag: string) => setFilter(withCondition(filter, `tag:${quoted(tag)}`)),
    [filter, setFilter],
  );
  const groupField = known?.byName.get(group);
  const columns = useMemo(
    () => [
      nameColumn(groupField, toggle),
      ...chosen.flatMap((name) => {
        const field = known?.byName.get(name);
        return field ? [runColumn(field, onTag)] : [];
      }),
    ],
    [known, chosen, groupField, toggle, onTag],
  );

  let shown: ListedRun | null = looked?.id === open ? looked : null;
  for (let index = 0; index < Math.min(list.total ?? 0, 5000) && open; index++) {
    const row = list.row(index);
    if (row?.id === open) shown = row;
  }
  const close = () => setOpen("");
  useKeys("Side panel", [{ keys: "escape", label: "close the side panel", run: close }], open !== "");
  const add = (
    <Button look="primary" icon={<Plus size={15} />} onClick={() => void navigate({ to: "/trainings/new" })}>
      New training
    </Button>
  );
  return (
    <>
      <PageHeader
        title="Training"
        state={list.total ? <span className="text-muted">{format.figure(list.total)}</span> : undefined}
        actions={add}
      />
      <div className="relative flex min-h-0 flex-1">
        <div className="flex min-w-0 flex-1 flex-col">
          <div className="flex min-h-11 shrink-0 flex-wrap items-center gap-2 px-5 py-2">
            <RunsViews current={{ filter, sort, group, columns: cols ? cols.split(",") : [] }} />
            <RunsFilter
              value={filter}
              onChange={setFilter}
              fields={known?.fields ?? NO_FIELDS}
              problem={problem}
            />
            <GroupBy
              fields={known?.fields ?? NO_FIELDS}
              value={group}
              onChange={(next) => {
                setGroup(next);
                setClosed(new Set());
              }}
            />
            {known && (
              <RunsColumns
                fields={known.fields}
                chosen={[...chosen]}
                onChange={(names) => setCols(names.join() === USUAL_COLUMNS.join() ? "" : names.join(","))}
              />
            )}
            {group && (
              <Button
                look="quiet"
                onClick={() =>
                  setClosed(closed.size > 0 ? new Set() : new Set(groups.data?.groups.map(groupKey) ?? []))
                }
              >
                {closed.size > 0 ? "Open all" : "Close all"}
              </Button>
            )}
          </div>
          <DataTable
            label="Training"
            columns={columns}
            source={source}
            id={(row) => (row.run ? row.run.id : `group ${groupKey(row.group)}`)}
            sort={sort}
            onSort={setSort}
            onOpen={(row) =>
              row.run ? void navigate({ to: "/trainings/$id", params: { id: row.run.id } }) : toggle(row)
            }
            onPreview={(row) => {
              if (row?.group) return toggle(row);
              setLooked(row?.run ?? null);
              setOpen(row?.run?.id ?? "");
            }}
            previewed={open || null}
            bulk={(rows, clear) => <RunsBulk rows={rows} clear={clear} />}
            empty={
              problem ? null : filter ? (
                <p className="px-5 py-10 text-center text-muted">
                  No run fits <code>{filter}</code>.
                </p>
              ) : (
                <Empty title="No trainings yet" action={add}>
                  A training learns a sparse autoencoder from a model's activations at one hook point. It
                  needs a tokenized data set.
                </Empty>
              )
            }
          />
        </div>
        {shown && (
          <SidePanel title={shown.name} onClose={close}>
            <TrainingFacts training={shown} />
          </SidePanel>
        )}
      </div>
    </>
  );
}

function nameColumn(groupField: RunField | undefined, toggle: (row: Row) => void): Column<Row> {
  return {
    id: "name",
    header: "Name",
    width: "minmax(250px, 2.6fr)",
    fixed: true,
    sort: "name",
    cell: (row) => {
      if (row.group)
        return (
          <span className="flex items-center gap-1.5 font-medium">
            <button
              type="button"
              aria-expanded={row.open}
              aria-label={`${row.open ? "Close" : "Open"} ${groupWords(groupField, row.group.value)}`}
              className="rounded-[3px] text-muted hover:text-ink"
              onClick={() => toggle(row)}
            >
              {row.open ? <ChevronDown size={14} /> : <ChevronRight size={14} />}
            </button>
            <span className="truncate">{groupWords(groupField, row.group.value)}</span>
            <span className="shrink-0 font-normal text-muted">
              {format.plural(row.group.count, "run")}
              {row.group.running > 0 && `, ${row.group.running} under way`}
            </span>
            {row.group.count > 1 && row.group.count <= 64 && <CompareGroup filter={row.group.filter} />}
          </span>
        );
      return (
        <span className={`flex items-center gap-1.5 ${groupField ? "pl-5" : ""}`}>
          <StarButton run={row.run} />
          <Link
            to="/trainings/$id"
            params={{ id: row.run.id }}
            className="flex min-w-0 font-medium hover:underline"
            {...tip(row.run.name)}
          >
            <LongName name={row.run.name} />
          </Link>
          {row.run.sweep_size > 1 && (
            <Link
              to="/sweeps/$id"
              params={{ id: row.run.sweep_id }}
              className="shrink-0 rounded-[4px] bg-sunken px-1 text-2xs text-muted hover:text-ink"
              {...tip(`One of ${row.run.sweep_size} that are trained in one pass. Open the sweep.`)}
            >
              {row.run.sweep_size}
            </Link>
          )}
          <Tags tags={row.run.tags.slice(0, 2)} onTag={() => {}} />
        </span>
      );
    },
  };
}

function CompareGroup({ filter }: { filter: string }) {
  const navigate = useNavigate();
  return (
    <button
      type="button"
      aria-label="Compare these"
      className="rounded-[3px] text-faint hover:text-accent"
      {...tip("Compare these")}
      onClick={async () => {
        const ids = await body(api.GET("/api/v1/trainings/ids", { params: { query: { filter } } }));
        void navigate({ to: "/trainings/compare", search: { ids: ids.join(",") } as never });
      }}
    >
      <GitCompareArrows size={13} />
    </button>
  );
}

function StarButton({ run }: { run: ListedRun }) {
  const client = useQueryClient();
  return (
    <button
      type="button"
      aria-pressed={run.favourite}
      aria-label={run.favourite ? "Take the star away" : "Star"}
      className={`shrink-0 rounded-[3px] ${run.favourite ? "text-warning" : "text-line-strong hover:text-warning"}`}
      onClick={async () => {
        await body(
          api.PATCH("/api/v1/trainings/{training_id}", {
            params: { path: { training_id: run.id } },
            body: { favourite: !run.favourite } as never,
          }),
        );
        await client.invalidateQueries({ queryKey: ["trainings"] });
      }}
    >
      <Star size={13} fill={run.favourite ? "currentColor" : "none"} />
    </button>
  );
}

function GroupBy({
  fields,
  value,
  onChange,
}: {
  fields: RunField[];
  value: string;
  onChange: (name: string) => void;
}) {
  const usual = GROUPS.flatMap((name) => fields.find((field) => field.name === name) ?? []);
  const others = fields.filter(
    (field) => field.groupable && !GROUPS.includes(field.name) && field.kind !== "list",
  );
  const option = (field: RunField) => (
    <option key={field.name} value={field.name}>
      {field.title}
    </option>
  );
  return (
    <label className="flex items-center gap-2 text-muted">
      Group by
      <select
        className="field w-auto max-w-40"
        value={value}
        onChange={(event) => onChange(event.target.value)}
      >
        <option value="">nothing</option>
        {usual.map(option)}
        <optgroup label="Others">{others.map(option)}</optgroup>
      </select>
    </label>
  );
}
