import type { ReactNode } from "react";
import { Disclosure } from "./Disclosure";
import { Field } from "./Field";
import { exact } from "./format";
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
import { inputOf, show } from "./schemaInputs";
import { type Several, SeveralInput, severalOf, type Tried } from "./severalValues";

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
  several?: Several;
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
  /** Only fields whose name or explanation has this text in it. */
  match?: string;
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

/** Whether a field or one within it speaks of `text`. */
function speaksOf(name: string, raw: JsonSchema, resolve: Resolve, text: string): boolean {
  const field = fieldOf(raw, resolve);
  const words = [name, labelOf(name, field.schema, raw), ...explain(name, field).split("\n").slice(0, 1)];
  if (field.schema.synonyms) words.push(...(field.schema.synonyms as string[]));
  if (words.some((one) => one.toLowerCase().includes(text))) return true;
  const inner = field.kind === "union" ? field.variants.map((one) => one.schema) : [field.schema];
  return inner.some((one) => hasMatch(one, resolve, text, new Set()));
}

/** Whether any field of an object speaks of `text`. */
export function hasMatch(
  schema: JsonSchema,
  resolve: Resolve,
  text: string,
  hidden: ReadonlySet<string>,
): boolean {
  return Object.entries(schema.properties ?? {}).some(
    ([name, raw]) => !hidden.has(name) && speaksOf(name, raw, resolve, text),
  );
}

/** The fields of one object, two to a row; nested objects and unions take the full width. */
export function ObjectFields(props: ObjectProps) {
  const { schema, value, path, only, except, hidden, match, resolve } = props;
  const names = Object.keys(schema.properties ?? {})
    .map((name) => ({ name, at: path ? `${path}.${name}` : name }))
    .filter(({ at }) => !hidden.has(at))
    .filter(({ name, at }) => schema.properties?.[name]?.const === undefined || props.widgets[at])
    .filter(({ at }) => !only || within(at, only) || above(at, only))
    .filter(({ at }) => !except || !within(at, except))
    .filter(({ name }) => !match || speaksOf(name, schema.properties?.[name] ?? {}, resolve, match));
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
    <div className="grid grid-cols-1 gap-x-4 gap-y-3 sm:grid-cols-2 @4xl:grid-cols-3">
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
  const tried = severalOf(props, field);
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
  if (field.kind === "union" && !widget)
    return <UnionField {...props} field={field} label={label} id={id} tried={tried} />;
  // A name may be long, and is what one reads first.
  const wide = field.kind === "list" || name === "name" || (field.schema.maxLength ?? 0) > 1000;
  return (
    <div className={wide ? "col-span-full" : "min-w-0"}>
      <Field
        id={id}
        label={label}
        unit={field.schema.unit}
        hint={explain(name, field)}
        error={errors[at]}
        needed={props.needed && field.schema.default === undefined}
        actions={tried?.toggle}
      >
        {tried?.values ? (
          <SeveralInput id={id} field={field} values={tried.values} set={tried.set} error={errors[at]} />
        ) : widget ? (
          widget({ id, value: found, onChange: (next) => set(next), error: errors[at], label })
        ) : (
          inputOf(field, id, found, set, errors[at])
        )}
      </Field>
    </div>
  );
}

function UnionField({
  field,
  label,
  id,
  tried,
  ...props
}: OneProps & { field: FieldShape; label: string; id: string; tried: Tried | undefined }) {
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
    except: props.match ? undefined : folded,
    // Of a kind that is itself meant, all settings are.
    match:
      props.match &&
      [at, label, names[variant.name] ?? ""].some((one) => one.toLowerCase().includes(props.match ?? ""))
        ? undefined
        : props.match,
    hidden: new Set([...props.hidden, `${at}.${tag}`]),
    onChange: (changed: string, next: Value) => props.set({ ...next, [tag]: variant.name }, changed),
  };
  return (
    <fieldset className="col-span-full flex flex-col gap-3">
      <legend className="sr-only">{label}</legend>
      <Field
        id={id}
        label={label}
        hint={[explain(props.name, field, names), variant.schema.description?.replaceAll(/\s*\n\s*/g, " ")]
          .filter(Boolean)
          .join("\n\n")}
        error={props.errors[at]}
        actions={tried?.toggle}
      >
        {tried?.values ? (
          <SeveralInput
            id={id}
            field={field}
            names={names}
            values={tried.values}
            set={tried.set}
            error={props.errors[at]}
          />
        ) : (
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
        )}
      </Field>
      {(tried?.values?.length ?? 0) > 1 ? props.several?.across[at] : <ObjectFields {...fields} />}
      {!((tried?.values?.length ?? 0) > 1) && !props.match && folded.length > 0 && (
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

/** A field's default in words; of a choice between kinds its kind, of other groups nothing. */
function usualOf({ schema, discriminator }: FieldShape, names: Record<string, string>): string {
  const usual = schema.default;
  if (usual === undefined) return "";
  if (usual === null) return "not set";
  if (typeof usual === "number") return exact(usual);
  if (Array.isArray(usual)) return usual.map(show).join(", ");
  if (typeof usual !== "object") return show(usual);
  const kind = discriminator && (usual as Value)[discriminator];
  return kind ? (names[String(kind)] ?? String(kind)) : "";
}

/** What a field means, its range, default and source. `names`: what its kinds are called. */
function explain(name: string, field: FieldShape, names: Record<string, string> = {}): string {
  const { schema } = field;
  const synonyms = (schema.synonyms as string[] | undefined) ?? [];
  const range = rangeOf(schema);
  const usual = usualOf(field, names);
  const lines = [
    schema.description ?? "",
    range ? `Range: ${range}${schema.unit ? ` ${schema.unit}` : ""}.` : "",
    usual === ""
      ? ""
      : `Default: ${usual}${schema.unit && schema.default !== null ? ` ${schema.unit}` : ""}.`,
    schema.source ? `Source: ${schema.source}.` : "",
    `Written ${[name, ...synonyms].join(" or ")}.`,
  ];
  return lines.filter(Boolean).join("\n");
}
