import { type ReactNode, useEffect, useState } from "react";
import type { FeatureQuery } from "./query";

const LABELS = {
  labelled: "labelled",
  unlabelled: "not labelled",
  person: "labelled by hand",
  machine: "labelled by machine",
};
const DENSITIES = {
  dead: "dead: never fired",
  rare: "rare: under 1 in 10 000",
  normal: "normal",
  dense: "dense: over 1 in 10",
};

/** What narrows the list of features down. */
export function FilterBar({
  query,
  set,
}: {
  query: FeatureQuery;
  set: (next: Partial<FeatureQuery>) => void;
}) {
  const select = (
    label: string,
    value: string | undefined,
    any: string,
    options: Record<string, string>,
    onChange: (value: string | undefined) => void,
  ): ReactNode => (
    <select
      aria-label={label}
      className={`field w-[128px] ${value ? "border-accent" : ""}`}
      value={value ?? ""}
      onChange={(event) => onChange(event.target.value || undefined)}
    >
      <option value="">{any}</option>
      {Object.entries(options).map(([one, words]) => (
        <option key={one} value={one}>
          {words}
        </option>
      ))}
    </select>
  );
  return (
    <>
      {select("Labels", query.label_state, "any label", LABELS, (value) =>
        set({ label_state: value as FeatureQuery["label_state"] }),
      )}
      {select("Frequency", query.density, "any density", DENSITIES, (value) =>
        set({ density: value as FeatureQuery["density"] }),
      )}
      <label className="flex items-center gap-1.5 text-muted">
        <input
          type="checkbox"
          className="accent-accent"
          checked={query.starred === true}
          onChange={(event) => set({ starred: event.target.checked || undefined })}
        />
        starred
      </label>
      <Bound
        label="Frequency from"
        placeholder="freq ≥"
        value={query.min_frequency}
        onChange={(value) => set({ min_frequency: value })}
      />
      <Bound
        label="Frequency up to"
        placeholder="freq ≤"
        value={query.max_frequency}
        onChange={(value) => set({ max_frequency: value })}
      />
      <Bound
        label="Maximum from"
        placeholder="max ≥"
        value={query.min_activation}
        onChange={(value) => set({ min_activation: value })}
      />
    </>
  );
}

/** A number, or nothing; "1%" is 0.01. Reported after a pause, and not while it is no number. */
function Bound({
  label,
  placeholder,
  value,
  onChange,
}: {
  label: string;
  placeholder: string;
  value: number | undefined;
  onChange: (value: number | undefined) => void;
}) {
  const [text, setText] = useState(value === undefined ? "" : String(value));
  const parsed = text.trim().endsWith("%") ? Number(text.replace("%", "")) / 100 : Number(text);
  const wrong =
    text !== "" && (!Number.isFinite(parsed) || parsed < 0 || (label.startsWith("Freq") && parsed > 1));
  useEffect(() => setText((now) => (value === undefined && now !== "" ? "" : now)), [value]);
  useEffect(() => {
    const wanted = text === "" ? undefined : parsed;
    if (wrong || wanted === value) return;
    const timer = setTimeout(() => onChange(wanted), 300);
    return () => clearTimeout(timer);
  }, [text, parsed, wrong, value, onChange]);
  return (
    <input
      aria-label={label}
      aria-invalid={wrong || undefined}
      className={`field w-[66px] ${value === undefined ? "" : "border-accent"}`}
      inputMode="decimal"
      placeholder={placeholder}
      value={text}
      onChange={(event) => setText(event.target.value)}
    />
  );
}
