import { type ReactNode, useState } from "react";
import { invalid } from "./Field";
import { figure } from "./format";
import type { Field as FieldShape } from "./jsonSchema";

/** A value in words. */
export function show(value: unknown): string {
  if (typeof value === "number") return figure(value);
  if (value === true) return "yes";
  if (value === false) return "no";
  if (Array.isArray(value)) return value.map(show).join(", ");
  return typeof value === "string" ? value.replaceAll("_", " ") : JSON.stringify(value);
}

/** The input that suits a field of a schema. */
export function inputOf(
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
      if (schema.items?.enum)
        return (
          <Ticks
            id={id}
            label={schema.title}
            choices={schema.items.enum}
            ticked={Array.isArray(value) ? value : []}
            set={set}
            error={error}
          />
        );
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

/** Some of several choices, in their own order whatever order they were ticked in. */
export function Ticks({
  id,
  label,
  choices,
  ticked,
  set,
  error,
  names,
}: {
  id: string;
  label: string | undefined;
  choices: unknown[];
  ticked: unknown[];
  set: (ticked: unknown[]) => void;
  error: string | undefined;
  names?: Record<string, string>;
}) {
  return (
    <fieldset
      id={id}
      tabIndex={-1}
      aria-label={label}
      className="flex flex-wrap gap-x-4 gap-y-1 py-1"
      {...invalid(id, error)}
    >
      {choices.map((choice) => (
        <label key={String(choice)} className="flex items-center gap-1.5">
          <input
            type="checkbox"
            className="accent-accent"
            checked={ticked.includes(choice)}
            onChange={(event) =>
              set(choices.filter((one) => (one === choice ? event.target.checked : ticked.includes(one))))
            }
          />
          {names?.[String(choice)] ?? show(choice)}
        </label>
      ))}
    </fieldset>
  );
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
