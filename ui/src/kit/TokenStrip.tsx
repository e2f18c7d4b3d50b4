import { type CSSProperties, type KeyboardEvent, memo, useRef, useState } from "react";
import { figure } from "./format";
import { tip } from "./Tip";

export interface TokenStripProps {
  /** Decoded texts, spaces included. */
  tokens: string[];
  /** One value per token; shading is value / max. */
  values?: ArrayLike<number | null>;
  /** What full shading stands for. Default: the largest value here. */
  max?: number;
  /** Name of the value in the tooltip. */
  valueName?: string;
  /** An extra line per token in the tooltip (its id, say). */
  note?: (index: number) => string;
  /** This token is outlined: the one the strip is about. */
  mark?: number;
  /** Every second token on a tint: where they begin and end, when there are no values to shade by. */
  bounds?: boolean;
  onToken?: (index: number) => void;
  /** One line, cut at the edges, or wrapping text with its line breaks. */
  oneLine?: boolean;
  /** With `oneLine`: the marked token stands in the middle, as much as fits around it. */
  centred?: boolean;
  /** As text that one reads: in the text's own type, spaces and line breaks as they are, within a line. */
  prose?: boolean;
  label: string;
}

/** Spaces at the edge and line breaks made visible where they would otherwise be lost. */
export function glyphs(token: string): string {
  if (token === "") return "∅";
  const shown = token.replaceAll("\r", "␍").replaceAll("\n", "↵").replaceAll("\t", "⇥");
  return /^ +$/.test(shown) ? "␣".repeat(shown.length) : shown;
}

/** Tokens shaded by a value. One tab stop; arrows move from token to token; hover and focus tell the value. */
export const TokenStrip = memo(function TokenStrip(props: TokenStripProps) {
  const { tokens, values, oneLine = false, mark, onToken, note } = props;
  const host = useRef<HTMLDivElement>(null);
  const [current, setCurrent] = useState(mark ?? 0);
  const top = props.max ?? (values ? Math.max(0, ...Array.from(values, (value) => value ?? 0)) : 0);
  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, number> = {
      ArrowRight: current + 1,
      ArrowLeft: current - 1,
      Home: 0,
      End: tokens.length - 1,
    };
    if (event.key in steps) {
      const next = Math.max(0, Math.min(tokens.length - 1, steps[event.key] as number));
      setCurrent(next);
      host.current?.querySelectorAll<HTMLElement>(".token")[next]?.focus();
    } else if ((event.key === "Enter" || event.key === " ") && onToken) onToken(current);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const pieces = tokens.map((token, index) => {
    const value = values?.[index];
    const share = value && top > 0 ? Math.max(0, Math.min(1, value / top)) : 0;
    const lines = [
      `“${glyphs(token)}”`,
      value === undefined || value === null ? "" : `${props.valueName ?? "Activation"} ${figure(value)}`,
      note?.(index) ?? "",
    ];
    const breaks = !oneLine && !props.prose && token.includes("\n");
    return (
      // biome-ignore lint/suspicious/noArrayIndexKey: a token is its position.
      <span key={index}>
        {/* biome-ignore lint/a11y/useSemanticElements: as above. */}
        <span
          role="listitem"
          className={`token ${oneLine ? "" : "whitespace-pre-wrap"} ${props.bounds && index % 2 === 0 ? "bg-accent-wash" : ""} ${mark === index ? "underline decoration-ink decoration-2 underline-offset-2" : ""} ${onToken ? "cursor-pointer" : ""}`}
          tabIndex={index === current ? 0 : -1}
          style={share > 0 ? ({ "--a": share.toFixed(3) } as CSSProperties) : undefined}
          onFocus={() => setCurrent(index)}
          {...(onToken ? { onClick: () => onToken(index) } : {})}
          {...tip(lines.filter(Boolean).join("\n"))}
        >
          {props.prose ? token : glyphs(token)}
        </span>
        {breaks && "\n"}
      </span>
    );
  });
  return (
    // biome-ignore lint/a11y/useSemanticElements: a list of words is not a <ul>: it is text.
    <div
      ref={host}
      role="list"
      aria-label={props.label}
      onKeyDown={onKeyDown}
      className={`${props.prose ? "inline" : "font-mono text-xs leading-5"} ${oneLine ? `overflow-hidden whitespace-pre ${props.centred ? "flex" : ""}` : "break-words whitespace-pre-wrap"}`}
    >
      {oneLine && props.centred && mark !== undefined ? (
        <>
          <span className="flex min-w-0 flex-1 justify-end overflow-hidden">
            <span className="shrink-0">{pieces.slice(0, mark)}</span>
          </span>
          <span className="shrink-0">{pieces[mark]}</span>
          <span className="min-w-0 flex-1 overflow-hidden">{pieces.slice(mark + 1)}</span>
        </>
      ) : (
        pieces
      )}
    </div>
  );
});
