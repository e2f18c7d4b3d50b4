import { Layers } from "lucide-react";
import { type ReactNode, useState } from "react";
import { IconButton } from "./Button";
import { invalid } from "./Field";
import type { Field as FieldShape, Value } from "./jsonSchema";
import { Ticks } from "./schemaInputs";

/** What fields need to take several values, each for a run of its own. */
export interface Several {
  /** Which fields may, by their path: the name under which their values are kept, or null. */
  nameOf: (path: string) => string | null;
  values: Record<string, unknown[]>;
  onChange: (values: Record<string, unknown[]>) => void;
  /** What is wrong with the values, by path. */
  problems: Record<string, string>;
  /** What stands below a choice between kinds, in place of one kind's settings, when several are chosen. */
  across: Record<string, ReactNode>;
}

/** The toggle between one value and several, and the values that are tried. */
export interface Tried {
  toggle: ReactNode;
  values: unknown[] | undefined;
  set: (values: unknown[]) => void;
}

/** A field's part in trying several values; undefined where it has none. */
export function severalOf(
  props: { several?: Several; at: string; found: unknown },
  field: FieldShape,
): Tried | undefined {
  const { several, at } = props;
  const name = several?.nameOf(at);
  if (!several || !name || !["integer", "number", "choice", "union"].includes(field.kind)) return undefined;
  const values = several.values[name];
  const set = (next: unknown[]) => several.onChange({ ...several.values, [name]: next });
  const tag = field.discriminator as string;
  const one = field.kind === "union" ? (props.found as Value | undefined)?.[tag] : props.found;
  const stop = () => {
    const { [name]: _, ...rest } = several.values;
    several.onChange(rest);
  };
  const words = values ? "One value again" : "Try several values: one SAE for each";
  const toggle = (
    <IconButton
      label={words}
      size="size-5"
      aria-pressed={values !== undefined}
      className={values ? "bg-accent-wash text-accent" : "text-faint"}
      onClick={() => (values ? stop() : set(one === null || one === undefined ? [] : [one]))}
    >
      <Layers size={12} />
    </IconButton>
  );
  return { toggle, values, set };
}

/** Several values of one field: numbers separated by commas, or some of its choices. */
export function SeveralInput({
  id,
  field,
  values,
  set,
  error,
  names,
}: {
  id: string;
  field: FieldShape;
  values: unknown[];
  set: (values: unknown[]) => void;
  error: string | undefined;
  names?: Record<string, string>;
}) {
  const choices = names ? Object.keys(names) : field.choices;
  if (choices.length > 0)
    return (
      <Ticks
        id={id}
        label={field.schema.title}
        choices={choices}
        ticked={values}
        set={set}
        error={error}
        names={names}
      />
    );
  return (
    <NumbersInput
      id={id}
      values={values}
      set={set}
      error={error}
      placeholder="several, separated by commas"
    />
  );
}

/** Numbers separated by commas; what is typed stays as it was typed while it means the same. */
export function NumbersInput({
  id,
  values,
  set,
  error,
  placeholder,
}: {
  id: string;
  values: unknown[];
  set: (values: unknown[]) => void;
  error?: string | undefined;
  placeholder: string;
}) {
  const [typed, setTyped] = useState("");
  const own = JSON.stringify(numbersIn(typed)) === JSON.stringify(values);
  return (
    <input
      id={id}
      className="field"
      placeholder={placeholder}
      value={own ? typed : values.join(", ")}
      onChange={(event) => {
        setTyped(event.target.value);
        set(numbersIn(event.target.value));
      }}
      {...invalid(id, error)}
    />
  );
}

/** "16, 32, 6e1" → [16, 32, 60]; what is no number is kept, to be reported. */
function numbersIn(text: string): unknown[] {
  return text
    .split(/[,;\s]+/)
    .filter(Boolean)
    .map((part) => (Number.isNaN(Number(part)) ? part : Number(part)));
}
