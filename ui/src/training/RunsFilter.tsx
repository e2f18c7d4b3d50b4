import { useQuery } from "@tanstack/react-query";
import { CircleHelp, ListFilter, X } from "lucide-react";
import { type KeyboardEvent, useEffect, useId, useMemo, useRef, useState } from "react";
import { api, body } from "@/api/client";
import type { Problem } from "@/api/problem";
import { format, IconButton, tip } from "@/kit";
import { fieldsFor, finished, operatorsOf, placeAt, quoted } from "./filterCompletion";
import type { RunField } from "./runs";

interface Offer {
  insert: string;
  label: string;
  about: string;
  from: number;
}

const HELP = `Conditions side by side must all hold: fvu<0.2 layer:6,7 architecture:topk
OR between conditions, - before one for its opposite, parentheses to group.
: is, ~ contains, != is not; model:pyth* has a wildcard; none stands for no value.
Times: created>2026-01-31, created>=-7d. Numbers: d_sae>=8k, tokens>10M.
Other text is looked for in names, hook points and notes.`;

/** The filter of the list of runs, with completion; `/` focuses it. What the server cannot read is marked. */
export function RunsFilter({
  value,
  onChange,
  fields,
  problem,
}: {
  value: string;
  onChange: (filter: string) => void;
  fields: RunField[];
  problem: Problem | null;
}) {
  const [text, setText] = useState(value);
  const [caret, setCaret] = useState(0);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const input = useRef<HTMLInputElement>(null);
  const list = useId();
  const last = useRef(value);
  useEffect(() => {
    if (value !== last.current) setText(value);
    last.current = value;
  }, [value]);
  const names = useMemo(
    () =>
      new Set(fields.flatMap((field) => [field.name, ...field.aliases]).map((name) => name.toLowerCase())),
    [fields],
  );
  const place = open ? placeAt(text, caret, names) : null;
  const named = (name: string) =>
    fields.find((field) => field.name === name.toLowerCase() || field.aliases.includes(name.toLowerCase()));
  const compared = place?.kind === "value" ? named(place.field) : undefined;
  const values = useValues(compared);
  let offers: Offer[] = [];
  if (place?.kind === "field")
    offers = fieldsFor(place.start, fields).map((field) => ({
      insert: field.name,
      label: field.name,
      about: field.title,
      from: place.from,
    }));
  else if (place?.kind === "operator") {
    const field = named(place.field);
    if (field)
      offers = operatorsOf(field).map(([operator, about]) => ({
        insert: operator,
        label: `${place.field}${operator}`,
        about,
        from: place.from,
      }));
  } else if (place?.kind === "value" && values) {
    const start = place.start.toLowerCase();
    offers = values
      .filter(([one]) => one.toLowerCase().includes(start) && one.toLowerCase() !== start)
      .slice(0, 12)
      .map(([one, about]) => ({ insert: `${quoted(one)} `, label: one, about, from: place.from }));
  }
  const shown = open && offers.length > 0;
  // What is being chosen from the list is not a condition yet: until then the ones before it count.
  const ready = shown && caret === text.length ? finished(text, place) : text;
  useEffect(() => {
    if (ready === last.current) return;
    const timer = setTimeout(() => {
      last.current = ready;
      onChange(ready);
    }, 300);
    return () => clearTimeout(timer);
  }, [ready, onChange]);

  const take = (offer: Offer) => {
    const next = text.slice(0, offer.from) + offer.insert + text.slice(caret).replace(/^ /, "");
    const at = offer.from + offer.insert.length;
    setText(next);
    setActive(-1);
    setCaret(at);
    requestAnimationFrame(() => input.current?.setSelectionRange(at, at));
  };
  const apply = () => {
    last.current = text;
    onChange(text);
    setOpen(false);
  };
  const onKeyDown = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!open) setOpen(true);
      const step = event.key === "ArrowDown" ? 1 : -1;
      setActive((now) => (offers.length === 0 ? -1 : (now + step + offers.length) % offers.length));
    } else if (event.key === " " && event.ctrlKey) {
      event.preventDefault();
      setOpen(true);
    } else if (event.key === "Tab" && shown && !event.shiftKey && (active >= 0 || text.trim() !== "")) {
      const offer = offers[Math.max(active, 0)];
      if (offer && place && (active >= 0 || (place.kind !== "operator" && place.start !== ""))) {
        event.preventDefault();
        take(offer);
      }
    } else if (event.key === "Enter") {
      event.preventDefault();
      const offer = offers[active];
      if (shown && offer) take(offer);
      else apply();
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (shown) setOpen(false);
      else event.currentTarget.blur();
    }
  };
  const follow = () => {
    setCaret(input.current?.selectionStart ?? 0);
    setActive(-1);
  };
  return (
    <div className="relative min-w-0 flex-[1_1_260px] lg:max-w-3xl">
      <ListFilter
        size={14}
        aria-hidden="true"
        className="pointer-events-none absolute top-[7px] left-2 text-faint"
      />
      <input
        ref={input}
        data-search=""
        role="combobox"
        aria-label="Filter runs"
        aria-expanded={shown}
        aria-controls={list}
        aria-autocomplete="list"
        aria-activedescendant={shown && active >= 0 ? `${list}-${active}` : undefined}
        aria-invalid={problem !== null || undefined}
        aria-describedby={problem ? `${list}-problem` : undefined}
        autoComplete="off"
        spellCheck={false}
        className="field w-full pr-14 pl-7 font-mono text-xs"
        placeholder="Filter ( / ), such as  fvu<0.2 layer:6 architecture:topk tag:good"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setOpen(true);
          setCaret(event.target.selectionStart ?? 0);
          setActive(-1);
        }}
        onKeyUp={(event) => {
          if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) follow();
        }}
        onClick={() => {
          follow();
          setOpen(true);
        }}
        onBlur={() => setOpen(false)}
        onKeyDown={onKeyDown}
      />
      <span className="absolute top-0.5 right-0.5 flex">
        {text && (
          <IconButton
            label="Clear the filter"
            size="size-6"
            onClick={() => {
              setText("");
              last.current = "";
              onChange("");
              input.current?.focus();
            }}
          >
            <X size={13} />
          </IconButton>
        )}
        <button
          type="button"
          aria-label="How to filter"
          className="size-6 rounded-[4px] text-faint hover:text-ink"
          {...tip(HELP)}
        >
          <CircleHelp size={13} className="mx-auto" />
        </button>
      </span>
      {shown && (
        <div
          id={list}
          role="listbox"
          aria-label="Completions"
          tabIndex={-1}
          className="absolute inset-x-0 top-8 z-30 max-h-80 max-w-md overflow-y-auto rounded-[7px] border border-line bg-raised p-1 shadow-pop"
        >
          {offers.map((offer, index) => (
            <div
              key={offer.label}
              id={`${list}-${index}`}
              role="option"
              tabIndex={-1}
              aria-selected={index === active}
              className={`flex h-7 cursor-default items-center gap-3 rounded-[4px] px-2 ${index === active ? "bg-hover" : "hover:bg-hover"}`}
              // Not on click: that would come after the field has lost the focus and closed the list.
              onPointerDown={(event) => {
                event.preventDefault();
                take(offer);
              }}
            >
              <code className="truncate">{offer.label}</code>
              <span className="ml-auto truncate text-xs text-muted">{offer.about}</span>
            </div>
          ))}
        </div>
      )}
      {problem && !shown && (
        <div
          id={`${list}-problem`}
          role="alert"
          className="absolute inset-x-0 top-8 z-20 max-w-2xl rounded-[7px] border border-line bg-raised px-3 py-1.5 text-xs shadow-pop"
        >
          <Marked text={value} problem={problem} />
          <div className="mt-0.5">
            <span className="text-failed">{problem.detail}</span> {problem.hint}
          </div>
        </div>
      )}
    </div>
  );
}

/** The filter with the wrong place underlined. */
function Marked({ text, problem }: { text: string; problem: Problem }) {
  const start = Number(problem.fields["filter.start"] ?? 0);
  const end = Math.max(start, Number(problem.fields["filter.end"] ?? text.length));
  return (
    <code className="block truncate">
      {text.slice(0, start)}
      <span className="text-failed underline decoration-wavy underline-offset-4">
        {text.slice(start, end) || " "}
      </span>
      {text.slice(end)}
    </code>
  );
}

/** The values that a field has in the list, with how often. */
function useValues(field: RunField | undefined): [value: string, about: string][] | undefined {
  const fixed = field && (field.choices.length > 0 || field.kind === "flag");
  const counted = field !== undefined && !fixed && (field.groupable || field.kind === "list");
  const { data } = useQuery({
    queryKey: ["trainings", "values", field?.name],
    enabled: counted,
    staleTime: 10_000,
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/trainings/groups", { params: { query: { by: field?.name ?? "" } }, signal })),
  });
  if (!field) return undefined;
  if (field.kind === "flag")
    return [
      ["yes", field.title],
      ["no", ""],
    ];
  if (field.choices.length > 0) return field.choices.map((choice) => [choice, ""]);
  return data?.groups.map((group) => [
    group.value === null ? "none" : String(group.value),
    format.plural(group.count, "run"),
  ]);
}
