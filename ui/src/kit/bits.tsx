import { Check, Copy, Search } from "lucide-react";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { IconButton } from "./Button";
import { figure, sentence } from "./format";

/** Names and values, one line each. */
export function Facts({ facts }: { facts: [name: string, value: ReactNode][] }) {
  return (
    <dl className="grid grid-cols-[minmax(96px,max-content)_minmax(0,1fr)] gap-x-4 gap-y-1">
      {facts.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-muted">{name}</dt>
          <dd className="min-w-0 break-words">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The settings that something was made with, as the API names them. */
export function SettingFacts({ settings }: { settings: object }) {
  return (
    <Facts
      facts={Object.entries(settings).map(([name, value]) => [
        sentence(name),
        value === null ? "not set" : settingWords(value),
      ])}
    />
  );
}

function settingWords(value: unknown): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return figure(value);
  if (Array.isArray(value)) return value.length > 0 ? value.map(settingWords).join(", ") : "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Copies a text, and says that it did. */
export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <IconButton
      label={copied ? "Copied" : label}
      size="size-5"
      onClick={async (event) => {
        event.stopPropagation();
        await copyText(text);
        setCopied(true);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => setCopied(false), 1500);
      }}
    >
      {copied ? <Check size={13} /> : <Copy size={13} />}
    </IconButton>
  );
}

/** Works on plain http too, where the clipboard API is closed. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.style.position = "fixed";
  area.style.opacity = "0";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** An id or name in mono, with a button to copy it. */
export function Code({ children }: { children: string }) {
  return (
    <span className="inline-flex max-w-full items-center gap-1">
      <code className="truncate">{children}</code>
      <CopyButton text={children} />
    </span>
  );
}

/** The page's search field: `/` focuses it. What is typed is reported after a pause. */
export function SearchField({
  value,
  onChange,
  label,
}: {
  value: string;
  onChange: (value: string) => void;
  label: string;
}) {
  const [text, setText] = useState(value);
  const last = useRef(value);
  useEffect(() => {
    // Back and forward change it from outside.
    if (value !== last.current) setText(value);
    last.current = value;
  }, [value]);
  useEffect(() => {
    if (text === last.current) return;
    const timer = setTimeout(() => {
      last.current = text;
      onChange(text);
    }, 180);
    return () => clearTimeout(timer);
  }, [text, onChange]);
  return (
    <div className="relative w-full max-w-72">
      <Search
        size={14}
        aria-hidden="true"
        className="pointer-events-none absolute top-[7px] left-2 text-faint"
      />
      <input
        data-search=""
        type="search"
        className="field pl-7"
        aria-label={label}
        placeholder={`${label} ( / )`}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          // Chromium would empty the field: Escape leaves it, and what was found stays.
          event.preventDefault();
          event.currentTarget.blur();
        }}
      />
    </div>
  );
}

/** A titled part of a page. */
export function Section({
  title,
  actions,
  children,
}: {
  title: string;
  actions?: ReactNode;
  children: ReactNode;
}) {
  return (
    <section className="min-w-0">
      <div className="mb-2 flex h-7 items-center gap-2">
        <h2 className="flex-1 font-semibold">{title}</h2>
        {actions}
      </div>
      {children}
    </section>
  );
}

/** A small line without axes. */
export function Spark({ values, label, max }: { values: number[]; label: string; max?: number }) {
  if (values.length < 2)
    return <svg role="img" aria-label={label} className="h-4 w-16 min-w-0 shrink-[1000]" />;
  const low = max === undefined ? Math.min(...values) : 0;
  const high = max ?? Math.max(...values);
  const points = values.map(
    (value, index) =>
      `${(index / (values.length - 1)) * 64},${15 - ((value - low) / (high - low || 1)) * 14}`,
  );
  return (
    // It gives way to the figure beside it.
    <svg
      role="img"
      aria-label={label}
      viewBox="0 0 64 16"
      preserveAspectRatio="none"
      className="h-4 w-16 min-w-4 shrink-[1000]"
    >
      <polyline
        points={points.join(" ")}
        fill="none"
        className="stroke-accent"
        strokeWidth={1.25}
        vectorEffect="non-scaling-stroke"
      />
    </svg>
  );
}
