/** The part of JSON Schema that pydantic writes, read for forms: defaults, kinds and the same limits as the server. */

import { exact, sentence } from "./format";

export interface JsonSchema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  format?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  minItems?: number;
  maxItems?: number;
  items?: JsonSchema;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
  discriminator?: { propertyName: string; mapping?: Record<string, string> };
  $ref?: string;
  $defs?: Record<string, JsonSchema>;
  /** Our additions, written with `json_schema_extra`. */
  unit?: string;
  advanced?: boolean;
  [extra: string]: unknown;
}

/** Finds what a `$ref` points at. */
export type Resolve = (reference: string) => JsonSchema;

export type Value = Record<string, unknown>;

/** A resolver over a document: `#/$defs/X` of a schema, `#/components/schemas/X` of an OpenAPI document. */
export function resolver(document: unknown): Resolve {
  return (reference) => {
    let found: unknown = document;
    for (const part of reference.replace(/^#\//, "").split("/"))
      found = (found as Record<string, unknown> | undefined)?.[part];
    if (!found) throw new Error(`The schema refers to ${reference}, which it does not contain.`);
    return found as JsonSchema;
  };
}

export interface Variant {
  /** The discriminator's value. */
  name: string;
  schema: JsonSchema;
}

/** One field, with references followed and "or null" taken apart. */
export interface Field {
  schema: JsonSchema;
  nullable: boolean;
  kind: "text" | "integer" | "number" | "boolean" | "choice" | "list" | "object" | "union" | "constant";
  choices: unknown[];
  variants: Variant[];
  discriminator: string | null;
}

/** Read one property. What stands beside a `$ref` (default, description) wins over what it refers to. */
export function fieldOf(raw: JsonSchema, resolve: Resolve): Field {
  let schema = follow(raw, resolve);
  let nullable = false;
  const options = schema.anyOf;
  if (options) {
    const real = options.filter((option) => option.type !== "null");
    nullable = real.length < options.length;
    const { anyOf: _, ...beside } = schema;
    const words = real.flatMap((option) =>
      option.type === "boolean" && option.const === undefined
        ? [true, false]
        : option.const !== undefined
          ? [option.const]
          : (option.enum ?? [undefined]),
    );
    // "true, false or auto" is a choice.
    if (real.length > 1 && !words.includes(undefined))
      return { schema: beside, nullable, kind: "choice", choices: words, variants: [], discriminator: null };
    // Several real alternatives without a discriminator ("integer or text"): the first is offered.
    schema = { ...follow(real[0] ?? {}, resolve), ...beside };
  }
  const union = schema.oneOf && schema.discriminator;
  if (union) {
    const discriminator = union.propertyName;
    const variants = (schema.oneOf ?? []).map((option) => {
      const variant = follow(option, resolve);
      const tag = variant.properties?.[discriminator];
      return { name: String(tag?.const ?? tag?.enum?.[0] ?? variant.title ?? "?"), schema: variant };
    });
    return { schema, nullable, kind: "union", choices: [], variants, discriminator };
  }
  const choices = schema.enum ?? [];
  const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== "null") : schema.type;
  const kind: Field["kind"] =
    schema.const !== undefined
      ? "constant"
      : choices.length > 0
        ? "choice"
        : type === "integer" || type === "number" || type === "boolean"
          ? type
          : type === "array"
            ? "list"
            : type === "object" || schema.properties
              ? "object"
              : "text";
  return { schema, nullable, kind, choices, variants: [], discriminator: null };
}

function follow(raw: JsonSchema, resolve: Resolve): JsonSchema {
  let schema = raw;
  while (schema.$ref || schema.allOf?.length === 1) {
    const { $ref, allOf, ...beside } = schema;
    schema = { ...($ref ? resolve($ref) : (allOf?.[0] as JsonSchema)), ...beside };
  }
  return schema;
}

/** The defaults of every field that has one; a required object is filled with its own defaults. */
export function defaultsOf(schema: JsonSchema, resolve: Resolve): Value {
  const value: Value = {};
  for (const [name, raw] of Object.entries(schema.properties ?? {})) {
    const field = fieldOf(raw, resolve);
    if (field.kind === "constant") value[name] = field.schema.const;
    else if (field.schema.default !== undefined) value[name] = structuredClone(field.schema.default);
    else if (field.nullable) value[name] = null;
    else if (field.kind === "object") value[name] = defaultsOf(field.schema, resolve);
    else if (field.kind === "union" && field.variants[0])
      value[name] = defaultsOf(field.variants[0].schema, resolve);
  }
  return value;
}

/** One kind's value turned into another's: what was changed from its default is kept where the new kind takes it. */
export function switched(from: Variant, to: Variant, tag: string, value: Value, resolve: Resolve): Value {
  const before = defaultsOf(from.schema, resolve);
  const next: Value = { ...defaultsOf(to.schema, resolve), [tag]: to.name };
  for (const [name, raw] of Object.entries(to.schema.properties ?? {})) {
    const typed = JSON.stringify(value[name]) !== JSON.stringify(before[name]);
    if (name === tag || !(name in value) || !typed) continue;
    const alone = { properties: { [name]: raw } };
    if (Object.keys(problemsOf(alone, { [name]: value[name] }, resolve)).length === 0)
      next[name] = value[name];
  }
  return next;
}

/** "1 to 100", "at least 1", "more than 0, at most 1"; empty without limits. */
export function rangeOf(schema: JsonSchema): string {
  const low =
    schema.minimum !== undefined
      ? `at least ${exact(schema.minimum)}`
      : schema.exclusiveMinimum !== undefined
        ? `more than ${exact(schema.exclusiveMinimum)}`
        : "";
  const high =
    schema.maximum !== undefined
      ? `at most ${exact(schema.maximum)}`
      : schema.exclusiveMaximum !== undefined
        ? `less than ${exact(schema.exclusiveMaximum)}`
        : "";
  if (schema.minimum !== undefined && schema.maximum !== undefined)
    return `${exact(schema.minimum)} to ${exact(schema.maximum)}`;
  return [low, high].filter(Boolean).join(", ");
}

/** What is wrong with a value, by field path; empty when the server would take it. */
export function problemsOf(
  schema: JsonSchema,
  value: Value,
  resolve: Resolve,
  path = "",
): Record<string, string> {
  const problems: Record<string, string> = {};
  for (const [name, raw] of Object.entries(schema.properties ?? {})) {
    const at = path ? `${path}.${name}` : name;
    const field = fieldOf(raw, resolve);
    const found = value[name];
    if (found === undefined || found === null || found === "") {
      const mayBeEmpty = field.kind === "text" && !field.schema.minLength && !field.schema.pattern;
      const given = (found === null && field.nullable) || (found === "" && mayBeEmpty);
      if ((schema.required ?? []).includes(name) && !given) problems[at] = "Needed.";
      continue;
    }
    const wrong = wrongWith(field, found);
    if (wrong) problems[at] = wrong;
    else if (field.kind === "object")
      Object.assign(problems, problemsOf(field.schema, found as Value, resolve, at));
    else if (field.kind === "union") {
      const tag = (found as Value)[field.discriminator as string];
      const variant = field.variants.find((one) => one.name === tag);
      if (variant) Object.assign(problems, problemsOf(variant.schema, found as Value, resolve, at));
    }
  }
  return problems;
}

function wrongWith(field: Field, value: unknown): string | null {
  const { schema, kind } = field;
  if (kind === "choice" && !field.choices.includes(value)) return `One of ${field.choices.join(", ")}.`;
  if (kind === "list") {
    const items = value as unknown[];
    if (schema.minItems !== undefined && items.length < schema.minItems)
      return `At least ${schema.minItems}.`;
    if (schema.maxItems !== undefined && items.length > schema.maxItems) return `At most ${schema.maxItems}.`;
    const numeric = schema.items?.type === "integer" || schema.items?.type === "number";
    if (numeric && !items.every((item) => typeof item === "number" && Number.isFinite(item)))
      return "Must be numbers, separated by commas.";
  }
  if (kind === "text" && typeof value === "string") {
    if (schema.minLength !== undefined && value.length < schema.minLength)
      return schema.minLength === 1 ? "Needed." : `At least ${schema.minLength} characters.`;
    if (schema.maxLength !== undefined && value.length > schema.maxLength)
      return `At most ${schema.maxLength} characters.`;
    if (schema.pattern && !new RegExp(schema.pattern, "u").test(value))
      return `Does not fit ${schema.pattern}.`;
  }
  if (kind === "integer" || kind === "number") {
    if (typeof value !== "number" || !Number.isFinite(value)) return "Must be a number.";
    if (kind === "integer" && !Number.isInteger(value)) return "Must be a whole number.";
    const below =
      (schema.minimum !== undefined && value < schema.minimum) ||
      (schema.exclusiveMinimum !== undefined && value <= schema.exclusiveMinimum);
    const above =
      (schema.maximum !== undefined && value > schema.maximum) ||
      (schema.exclusiveMaximum !== undefined && value >= schema.exclusiveMaximum);
    if (below || above) return `Must be ${rangeOf(schema)}.`;
    if (
      schema.multipleOf &&
      Math.abs(value / schema.multipleOf - Math.round(value / schema.multipleOf)) > 1e-9
    )
      return `Must be a multiple of ${schema.multipleOf}.`;
  }
  return null;
}

/** "context_length" → "Context length"; a title that the author wrote stays as it is. */
export function labelOf(name: string, schema: JsonSchema, raw: JsonSchema = schema): string {
  // An object's own title is its class's name; what its field was titled stands beside the reference.
  if (schema.properties && raw !== schema && raw.title) return raw.title;
  const automatic = name
    .split("_")
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join(" ");
  if (schema.title && schema.title !== automatic && !schema.properties) return schema.title;
  // A field that names another thing is filled in by choosing that thing.
  return sentence(name.replace(/_id$/, ""));
}

/** The property that a path leads to, through the kinds that are chosen in `value`; undefined where there is none. */
export function propertyAt(
  path: string[],
  value: Value,
  schema: JsonSchema,
  resolve: Resolve,
): JsonSchema | undefined {
  const [name, ...inner] = path;
  const raw = schema.properties?.[name as string];
  if (!raw || inner.length === 0) return raw;
  const field = fieldOf(raw, resolve);
  const chosen = (value[name as string] ?? field.schema.default ?? {}) as Value;
  const kind = chosen[field.discriminator ?? ""];
  const variant = field.variants.find((one) => one.name === kind)?.schema ?? field.schema;
  return propertyAt(inner, chosen, variant, resolve);
}

/** What the form calls the field at a path such as "config.architecture.k"; the path itself where it has none. */
export function titleAt(path: string, value: Value, schema: JsonSchema, resolve: Resolve): string {
  const parts = path.split(".");
  const raw = propertyAt(parts, value, schema, resolve);
  return raw ? labelOf(parts.at(-1) as string, fieldOf(raw, resolve).schema, raw) : path;
}
