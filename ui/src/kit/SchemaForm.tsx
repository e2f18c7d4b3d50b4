import { type FormEvent, type ReactNode, useEffect, useId, useMemo, useRef, useState } from "react";
import { Problem } from "@/api/problem";
import { Button } from "./Button";
import { Disclosure } from "./Disclosure";
import { type JsonSchema, problemsOf, type Resolve, type Value } from "./jsonSchema";
import { hasMatch, hasOthers, ObjectFields, type Widget } from "./schemaFields";
import type { Several } from "./severalValues";
import { ErrorNote } from "./states";

export interface SchemaFormProps {
  schema: JsonSchema;
  resolve: Resolve;
  value: Value;
  onChange: (value: Value) => void;
  /** Field paths shown at once, in this order ("source", "settings.context_length"); the others stand under Advanced. */
  basic?: string[];
  /** Paths that the page fills in itself. */
  hidden?: string[];
  /** Own inputs for some paths (a model picker). */
  widgets?: Record<string, Widget>;
  /** For a choice between kinds (path → kind → its name): only these are offered, in this order. */
  kinds?: Record<string, Record<string, string>>;
  /** Lets some fields take several values, each for a run of its own. */
  several?: Several;
  /** Offers a search over the names and explanations of all fields. */
  searchable?: boolean;
  /** What the button says; null hides the buttons. */
  submit: string | null;
  onSubmit: (value: Value) => Promise<unknown>;
  onCancel?: () => void;
  /** Between fields and buttons: a forecast, say. */
  children?: ReactNode;
}

/** The buttons that end a form. In a dialog they stay in view, however long the form is. */
export function FormActions({ children }: { children: ReactNode }) {
  return (
    <div className="flex items-center justify-end gap-2 in-data-body:sticky in-data-body:-bottom-4 in-data-body:z-10 in-data-body:-mx-4 in-data-body:-mb-4 in-data-body:border-t in-data-body:border-line in-data-body:bg-raised in-data-body:rounded-b-[8px] in-data-body:px-4 in-data-body:py-2.5">
      {children}
    </div>
  );
}

/**
 * A form for one of the API's schemas: the server's descriptions, ranges and defaults, checked while one types; what
 * the server still refuses is shown at the field that it names.
 */
export function SchemaForm(props: SchemaFormProps) {
  const { schema, resolve, value, onChange, basic, hidden = [] } = props;
  const form = useRef<HTMLFormElement>(null);
  const base = useId();
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<Problem | null>(null);
  const [query, setQuery] = useState("");
  const found = useMemo(() => problemsOf(schema, value, resolve), [schema, value, resolve]);
  const hiddenPaths = new Set(hidden);
  const problems = Object.fromEntries(Object.entries(found).filter(([path]) => !hiddenPaths.has(path)));
  Object.assign(problems, props.several?.problems);
  const errors: Record<string, string> = { ...refusal?.fields };
  for (const [path, problem] of Object.entries(problems))
    if (tried || (touched.has(path) && problem !== "Needed.")) errors[path] = problem;

  useEffect(() => {
    if (refusal || tried) form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }, [refusal, tried]);

  const change = (path: string, next: Value) => {
    setTouched((paths) => new Set(paths).add(path));
    if (refusal) setRefusal(null);
    onChange(next);
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    setRefusal(null);
    if (Object.keys(problems).length > 0) {
      form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
      return;
    }
    setBusy(true);
    try {
      await props.onSubmit(value);
    } catch (error) {
      setRefusal(Problem.from(error));
    } finally {
      setBusy(false);
    }
  };
  const shared = {
    resolve,
    errors,
    widgets: props.widgets ?? {},
    kinds: props.kinds ?? {},
    several: props.several,
    hidden: hiddenPaths,
    base,
    onChange: change,
  };
  const wanted = query.trim().toLowerCase();
  const advancedTrouble = basic
    ? Object.keys(errors).filter(
        (path) =>
          // What concerns an object as a whole is not hidden with some of its fields.
          !basic.some((one) => path === one || path.startsWith(`${one}.`) || one.startsWith(`${path}.`)),
      ).length
    : 0;
  return (
    <form ref={form} noValidate onSubmit={submit} className="@container flex flex-col gap-4">
      {props.searchable && (
        <input
          data-search=""
          type="search"
          className="field"
          aria-label="Search settings"
          placeholder="Search settings by name or meaning ( / )"
          value={query}
          onChange={(event) => setQuery(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") event.preventDefault();
            if (event.key !== "Escape") return;
            event.preventDefault();
            if (query) setQuery("");
            else event.currentTarget.blur();
          }}
        />
      )}
      {wanted &&
        (hasMatch(schema, resolve, wanted, hiddenPaths) ? (
          <ObjectFields {...shared} schema={schema} value={value} path="" match={wanted} />
        ) : (
          <p role="status" className="text-muted">
            No setting speaks of “{query.trim()}”.
          </p>
        ))}
      {!wanted && <ObjectFields {...shared} schema={schema} value={value} path="" only={basic} />}
      {!wanted && basic && hasOthers(schema, resolve, basic, hiddenPaths) && (
        <Disclosure label="Advanced" forced={advancedTrouble > 0}>
          <ObjectFields {...shared} schema={schema} value={value} path="" except={basic} />
        </Disclosure>
      )}
      {props.children}
      {refusal && <ErrorNote error={refusal} />}
      {props.submit !== null && (
        <FormActions>
          {props.onCancel && <Button onClick={props.onCancel}>Cancel</Button>}
          <Button type="submit" look="primary" busy={busy}>
            {props.submit}
          </Button>
        </FormActions>
      )}
    </form>
  );
}
