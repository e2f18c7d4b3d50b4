import { useQuery } from "@tanstack/react-query";
import { useEffect, useId, useRef } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useRefetchOn } from "@/api/useChannel";
import { Field, format, tip } from "@/kit";

export type Template = components["schemas"]["TemplateOut"];

/** "L0 32, FVU 0.11": what a run of a template's settings comes to, with where that is known from. */
export function Expectation({ expected }: { expected: NonNullable<Template["expected"]> }) {
  return (
    <span className="text-ink" {...tip(`${expected.model}, ${expected.hook}\n${expected.source}`)}>
      L0 {format.given(expected.l0)}
      {expected.fvu !== null && `, FVU ${format.given(expected.fvu)}`}
    </span>
  );
}

function Group({ label, templates }: { label: string; templates: Template[] }) {
  return (
    <optgroup label={label}>
      {templates.map((one) => (
        <option key={one.id} value={one.id}>
          {one.favourite ? "★ " : ""}
          {one.name}
        </option>
      ))}
    </optgroup>
  );
}

/** Fills a form from a template of its kind; favourites come first. */
export function StartFrom({
  kind,
  value,
  onChange,
  first,
}: {
  kind: string;
  /** Id of the one to start from at once. */
  first?: string;
  /** Id of the one that was chosen. */
  value: string | null | undefined;
  onChange: (template: Template | null) => unknown;
}) {
  const id = useId();
  const templates = useQuery({
    queryKey: ["templates", "choices", kind],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/templates", { params: { query: { kind, limit: 500 } }, signal })),
  });
  useRefetchOn("templates", ["templates"]);
  const found = templates.data?.items ?? [];
  const own = found.filter((one) => !one.builtin);
  const shipped = found.filter((one) => one.builtin);
  const chosen = found.find((one) => one.id === value);
  const started = useRef(false);
  const start = started.current ? undefined : found.find((one) => one.id === first);
  useEffect(() => {
    if (!start || started.current) return;
    started.current = true;
    void onChange(start);
  }, [start, onChange]);
  return (
    <div className="min-w-0 flex-1">
      <Field
        id={id}
        label="Start from a template"
        hint="Fills in what the template keeps; it can be changed."
      >
        <select
          id={id}
          className="field"
          value={value ?? ""}
          disabled={found.length === 0}
          onChange={(event) => void onChange(found.find((one) => one.id === event.target.value) ?? null)}
        >
          <option value="">
            {templates.isPending ? "loading…" : found.length === 0 ? "none kept yet" : "none"}
          </option>
          {own.length > 0 && <Group label="Yours" templates={own} />}
          {shipped.length > 0 && <Group label="Built in" templates={shipped} />}
        </select>
      </Field>
      {chosen && (chosen.description || chosen.expected) && (
        <p className="mt-1 line-clamp-3 text-xs text-muted" {...tip(chosen.description)}>
          {chosen.expected && <Expectation expected={chosen.expected} />} {chosen.description}
        </p>
      )}
    </div>
  );
}
