import { useMemo, useState } from "react";
import { Code, type Column, DataTable, SearchField, tip, useRows } from "@/kit";
import { defaultsOf, fieldOf, type JsonSchema, labelOf, type Resolve, type Value } from "@/kit/jsonSchema";
import type { Training, useTrainingForm } from "./form";
import { settingWords } from "./words";

interface Row {
  path: string;
  label: string;
  hint: string;
  unit: string;
  value: unknown;
  words: string;
  usualWords: string;
  changed: boolean;
}

const COLUMNS: Column<Row>[] = [
  {
    id: "label",
    header: "Setting",
    width: "minmax(180px, 1.2fr)",
    cell: (row) => (
      <span className={row.changed ? "font-medium" : "text-muted"} {...tip(row.hint)}>
        {row.label}
      </span>
    ),
  },
  {
    id: "value",
    header: "Value",
    width: "minmax(160px, 1.2fr)",
    cell: (row) => (
      <span className={row.changed ? "font-medium" : "text-muted"}>
        {row.words}
        {row.unit && typeof row.value === "number" && <span className="text-faint"> {row.unit}</span>}
      </span>
    ),
  },
  {
    id: "usual",
    header: "Default",
    width: "minmax(120px, 1fr)",
    cell: (row) => <span className="text-muted">{row.usualWords}</span>,
  },
  {
    id: "path",
    header: "Name in the API",
    width: "minmax(180px, 1fr)",
    cell: (row) => <Code>{row.path}</Code>,
  },
];

/** Every setting of the run; those at their default stand back. */
export function RunConfig({
  training,
  form,
}: {
  training: Training;
  form: ReturnType<typeof useTrainingForm>;
}) {
  const [text, setText] = useState("");
  const [changedOnly, setChangedOnly] = useState(false);
  const rows = useMemo(() => form && configRows(form.schema, form.resolve, training), [form, training]);
  const wanted = text.toLowerCase();
  const found = rows?.filter(
    (row) =>
      (!changedOnly || row.changed) &&
      (!wanted || row.label.toLowerCase().includes(wanted) || row.path.includes(wanted)),
  );
  return (
    <>
      <div className="flex h-11 shrink-0 items-center gap-4 px-5">
        <SearchField value={text} onChange={setText} label="Search settings" />
        <label className="flex items-center gap-1.5 text-muted">
          <input
            type="checkbox"
            className="accent-accent"
            checked={changedOnly}
            onChange={(event) => setChangedOnly(event.target.checked)}
          />
          Only what differs from the defaults
        </label>
      </div>
      <DataTable
        label="Configuration"
        columns={COLUMNS}
        source={useRows(found)}
        id={(row) => row.path}
        empty={<p className="px-5 py-10 text-center text-muted">No setting is called so.</p>}
      />
    </>
  );
}

/** Choices as the form words them; what people named, such as data sets and hook points, as it stands. */
const wordsOf = (kind: string, path: string, value: unknown) =>
  typeof value === "string" && kind !== "choice" && kind !== "constant" ? value : settingWords(path, value);

function configRows(schema: JsonSchema, resolve: Resolve, training: Training): Row[] {
  const value: Value = {
    sources: training.sources
      .map(
        (one) =>
          `${one.dataset_name} / ${one.tokenization_name}${training.sources.length > 1 ? ` × ${one.weight}` : ""}`,
      )
      .join(", "),
    hooks: training.hook,
    cache_id: training.cache_id,
    held_out_tokens: training.held_out_tokens,
    config: training.config,
    trackers: training.trackers,
    ...(training.trackers.length ? { tracker_project: training.tracker_project } : {}),
    harvest: training.harvest,
  };
  const harvest = defaultsOf(resolve("#/$defs/HarvestSettings"), resolve);
  return flatten(schema, resolve, value, { ...defaultsOf(schema, resolve), harvest }, "");
}

function flatten(schema: JsonSchema, resolve: Resolve, value: Value, usual: Value, path: string): Row[] {
  const rows: Row[] = [];
  for (const [name, raw] of Object.entries(schema.properties ?? {})) {
    if (!(name in value)) continue;
    const field = fieldOf(raw, resolve);
    const at = path ? `${path}.${name}` : name;
    const inner = value[name] as Value;
    const before = (usual[name] ?? {}) as Value;
    if (field.kind === "object" && inner) rows.push(...flatten(field.schema, resolve, inner, before, at));
    else if (field.kind === "union" && inner) {
      const variant = field.variants.find((one) => one.name === inner[field.discriminator ?? ""]);
      // A setting that only this kind has is compared with this kind's own default.
      if (variant)
        rows.push(
          ...flatten(
            variant.schema,
            resolve,
            inner,
            {
              ...defaultsOf(variant.schema, resolve),
              [field.discriminator ?? ""]: before[field.discriminator ?? ""],
            },
            at,
          ),
        );
    } else
      rows.push({
        path: at,
        label: labelOf(name, field.schema),
        hint: field.schema.description ?? "",
        unit: field.schema.unit ?? "",
        value: value[name],
        words: wordsOf(field.kind, at, value[name]),
        usualWords: wordsOf(field.kind, at, usual[name]),
        changed: JSON.stringify(value[name] ?? null) !== JSON.stringify(usual[name] ?? null),
      });
  }
  return rows;
}
