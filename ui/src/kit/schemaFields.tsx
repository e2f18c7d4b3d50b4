import { type ReactNode, useState } from "react";
import { Disclosure } from "./Disclosure";
import { Field, invalid } from "./Field";
import { figure } from "./format";
import {
  type Field as FieldShape,
  fieldOf,
  type JsonSchema,
  labelOf,
  type Resolve,
  rangeOf,
  switched,
  type Value,
} from "./jsonSchema";

/** A hand-made input for one path. */
export type Widget = (input: {
  id: string;
  value: unknown;
  onChange: (value: unknown) => void;
  error: string | undefined;
  /** The field's name, for inputs that draw their own label. */
  label: string;
}) => ReactNode;

interface Shared {
  resolve: Resolve;
  errors: Record<string, string>;
  widgets: Record<string, Widget>;
  kinds: Record<string, Record<string, string>>;
  hidden: ReadonlySet<string>;
  base: string;
  /** The whole object at `path`'s root, changed. */
  onChange: (path: string, value: Value) => void;
}

interface ObjectProps extends Shared {
  schema: JsonSchema;
  value: Value;
  path: string;
  only?: string[];
  except?: string[];
}

const within = (path: string, paths: string[]) =>
  paths.some((one) => one === path || path.startsWith(`${one}.`));
const above = (path: string, paths: string[]) => paths.some((one) => one.startsWith(`${path}.`));

/** Whether any field would be shown besides `shown` and `hidden`. */
export function hasOthers(
  schema: JsonSchema,
  resolve: Resolve,
  shown: string[],
  hidden: ReadonlySet<string>,
  path = "",
): boolean {
  return Object.entries(schema.properties ?? {}).some(([name, raw]) => {
    const at = path ? `${path}.${name}` : name;
    if (within(at, shown) || hidden.has(at)) return false;
    const field = fieldOf(raw, resolve);
    if (field.kind === "constant") return false;
    return field.kind !== "object" || hasOthers(field.schema, resolve, shown, hidden, at);
  });
}

/** The fields of one object, two to a row; nested objects and unions take the full width. */
export function ObjectFields(props: ObjectProps) {
  const { schema, value, path, only, except, hidden } = props;
  const names = Object.keys(schema.properties ?? {})
    .map((name) => ({ name, at: path ? `${path}.${name}` : name }))
    .filter(({ at }) => !hidden.has(at))
    .filter(({ name, at }) => schema.properties?.[name]?.const === undefined || props.widgets[at])
    .filter(({ at }) => !only || within(at, only) || above(at, only))
    .filter(({ at }) => !except || !within(at, except));
  if (only) {
    const place = (at: string) => only.findIndex((one) => one === at || one.startsWith(`${at}.`));
    names.sort((one, other) => place(one.at) - place(other.at));
  } else {
    // What must be filled in comes first; the rest keeps the order of the schema.
    const must = (name: string) => (schema.required ?? []).includes(name);
    names.sort((one, other) => Number(must(other.name)) - Number(must(one.name)));
  }
  if (names.length === 0) return null;
  return (
    <div className="grid grid-cols-1 gap-x-4 gap-y-3 sm:grid-cols-2">
      {names.map(({ name, at }) => (
        <OneField
          key={at}
          {...props}
          name={name}
          at={at}
          raw={(schema.properties as Record<string, JsonSchema>)[name] as JsonSchema}
          needed={(schema.required ?? []).includes(name)}
          found={value[name]}
          set={(next, changed = at) => props.onChange(changed, { ...value, [name]: next })}
          only={only && !within(at, only) ? only : undefined}
        />
      ))}
    </div>
  );
}

interface OneProps extends ObjectProps {
  name: string;
  at: string;
  raw: JsonSchema;
  needed: boolean;
  found: unknown;
  /** `changed`: the path of what was typed into, where that lies deeper. */
  set: (value: unknown, changed?: string) => void;
}

function OneField(props: OneProps) {
  const { at, name, raw, resolve, found, set, widgets, errors } = props;
  const field = fieldOf(raw, resolve);
  const label = labelOf(name, field.schema, raw);
  const id = `${props.base}${at.replaceAll(".", "-")}`;
  const widget = widgets[at];
  if (field.kind === "constant" && !widget) return null;
  if (field.kind === "object" && !widget)
    return (
      <fieldset className="col-span-full">
        <legend className="mb-2 text-xs font-medium text-muted">{label}</legend>
        <ObjectFields
          {...props}
          schema={field.schema}
          value={(found as Value | undefined) ?? {}}
          path={at}
          onChange={(changed, next) => set(next, changed)}
        />
      </fieldset>
    );
  if (field.kind === "union" && !widget) return <UnionField {...props} field={field} label={label} id={id} />;
  const wide = field.kind === "list" || (field.schema.maxLength ?? 0) > 1000;
  return (
    <div className={wide ? "col-span-full" : "min-w-0"}>
      <Field
        id={id}
        label={label}
        unit={field.schema.unit}
        hint={explain(field)}
        error={errors[at]}
        needed={props.needed && field.schema.default === undefined}
      >
        {widget
          ? widget({ id, value: found, onChange: (next) => set(next), error: errors[at], label })
          : input(field, id, found, set, errors[at])}
      </Field>
    </div>
  );
}

function UnionField({
  field,
  label,
  id,
  ...props
}: OneProps & { field: FieldShape; label: string; id: string }) {
  const { resolve, at } = props;
  const tag = field.discriminator as string;
  const value = (props.found as Value | undefined) ?? {};
  const variant = field.variants.find((one) => one.name === value[tag]) ?? field.variants[0];
  if (!variant) return null;
  const names = props.kinds[at] ?? Object.fromEntries(field.variants.map((one) => [one.name, one.name]));
  // Where a kind has settings of both sorts, those that are seldom touched are folded away.
  const seldom = Object.entries(variant.schema.properties ?? {})
    .filter(([name, raw]) => name !== tag && fieldOf(raw, resolve).schema.advanced)
    .map(([name]) => `${at}.${name}`);
  const folded = seldom.length < Object.keys(variant.schema.properties ?? {}).length - 1 ? seldom : [];
  const fields = {
    ...props,
    schema: variant.schema,
    value,
    path: at,
    only: undefined,
    except: folded,
    hidden: new Set([...props.hidden, `${at}.${tag}`]),
    onChange: (changed: string, next: Value) => props.set({ ...next, [tag]: variant.name }, changed),
  };
  return (
    <fieldset className="col-span-full flex flex-col gap-3">
      <legend className="sr-only">{label}</legend>
      <Field
        id={id}
        label={label}
        hint={[field.schema.description, variant.schema.description].filter(Boolean).join("\n")}
        error={props.errors[at]}
      >
        <select
          id={id}
          className="field"
          value={variant.name}
          onChange={(event) => {
            const next = field.variants.find((one) => one.name === event.target.value);
            if (next) props.set(switched(variant, next, tag, value, resolve));
          }}
        >
          {Object.entries(names).map(([kind, words]) => (
            <option key={kind} value={kind}>
              {words}
            </option>
          ))}
        </select>
      </Field>
      <ObjectFields {...fields} />
      {folded.length > 0 && (
        <Disclosure
          key={variant.name}
          label={`More about ${names[variant.name] ?? variant.name}`}
          forced={folded.some((path) => props.errors[path])}
        >
          <div className="ml-[6px] border-l border-line pl-4">
            <ObjectFields {...fields} except={undefined} only={folded} />
          </div>
        </Disclosure>
      )}
    </fieldset>
  );
}

function explain(field: FieldShape): string {
  const { schema } = field;
  const range = rangeOf(schema);
  const lines = [
    schema.description ?? "",
    range ? `Range: ${range}${schema.unit ? ` ${schema.unit}` : ""}.` : "",
    schema.default !== undefined && schema.default !== null ? `Default: ${show(schema.default)}.` : "",
  ];
  return lines.filter(Boolean).join("\n");
}

function show(value: unknown): string {
  if (typeof value === "number") return figure(value);
  if (value === true) return "yes";
  if (value === false) return "no";
  if (Array.isArray(value)) return value.map(show).join(", ");
  return typeof value === "string" ? value.replaceAll("_", " ") : JSON.stringify(value);
}

function input(
  field: FieldShape,
  id: string,
  value: unknown,
  set: (value: unknown) => void,
  error: string | undefined,
): ReactNode {
  const { schema, nullable } = field;
  const shared = { id, className: "field", ...invalid(id, error) };
  const blank = nullable ? null : undefined;
  const example = schema.examples as unknown[] | undefined;
  switch (field.kind) {
    case "boolean":
      return (
        <input
          id={id}
          type="checkbox"
          className="block size-4 accent-accent"
          checked={value === true}
          onChange={(event) => set(event.target.checked)}
        />
      );
    case "choice":
      return (
        <select
          {...shared}
          value={value === null || value === undefined ? "" : JSON.stringify(value)}
          onChange={(event) => set(event.target.value === "" ? blank : JSON.parse(event.target.value))}
        >
          {(nullable || value === undefined) && <option value="">{nullable ? "not set" : "choose…"}</option>}
          {field.choices.map((choice) => (
            <option key={String(choice)} value={JSON.stringify(choice)}>
              {typeof choice === "string" ? choice.replaceAll("_", " ") : show(choice)}
            </option>
          ))}
        </select>
      );
    case "integer":
    case "number":
      return (
        <NumberInput
          shared={shared}
          value={value}
          blank={blank}
          set={set}
          placeholder={nullable ? "not set" : ""}
        />
      );
    case "list":
      return (
        <input
          {...shared}
          placeholder="separated by commas"
          defaultValue={Array.isArray(value) ? value.join(", ") : ""}
          onChange={(event) => {
            const parts = event.target.value
              .split(",")
              .map((part) => part.trim())
              .filter(Boolean);
            const numeric = schema.items?.type === "integer" || schema.items?.type === "number";
            set(numeric ? parts.map(Number) : parts);
          }}
        />
      );
    default:
      return (schema.maxLength ?? 0) > 4000 ? (
        <textarea
          {...shared}
          rows={4}
          value={typeof value === "string" ? value : ""}
          onChange={(event) => set(event.target.value || blank)}
        />
      ) : (
        <input
          {...shared}
          value={
            typeof value === "string" ? value : value === null || value === undefined ? "" : String(value)
          }
          placeholder={example?.[0] !== undefined ? `e.g. ${String(example[0])}` : nullable ? "not set" : ""}
          spellCheck={false}
          onChange={(event) => set(event.target.value || blank)}
        />
      );
  }
}

/** A number as text, so that "1e-4" and "0." can be typed; what is no number is kept and reported. */
function NumberInput({
  shared,
  value,
  blank,
  set,
  placeholder,
}: {
  shared: Record<string, unknown>;
  value: unknown;
  blank: null | undefined;
  set: (value: unknown) => void;
  placeholder: string;
}) {
  const [typed, setTyped] = useState("");
  const parse = (text: string) => {
    const bare = text.replaceAll(/[\s_]/g, "");
    return bare === "" ? blank : Number.isNaN(Number(bare)) ? bare : Number(bare);
  };
  // What was typed stays as it was typed while it still means the value; a value from elsewhere replaces it.
  const own = (parse(typed) ?? null) === (value ?? null);
  return (
    <input
      {...shared}
      inputMode="decimal"
      value={own ? typed : value === null || value === undefined ? "" : String(value)}
      placeholder={placeholder}
      onChange={(event) => {
        setTyped(event.target.value);
        set(parse(event.target.value));
      }}
    />
  );
}
