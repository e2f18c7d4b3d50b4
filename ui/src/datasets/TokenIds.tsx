import type { CSSProperties } from "react";
import type { components } from "@/api/schema";
import { tip } from "@/kit";
import { glyphs } from "@/kit/TokenStrip";

type Token = components["schemas"]["TokenOut"];

const COLOURS = 8;

/** Tokens as chips, each with its id; equal tokens have the same colour. */
export function TokenIds({ tokens, label, length }: { tokens: Token[]; label: string; length: number }) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a list of words is not a <ul>: it is text.
    <div role="list" aria-label={label} className="flex flex-wrap gap-x-0.5 gap-y-1 font-mono text-xs">
      {tokens.map((token, index) => (
        // biome-ignore lint/a11y/useSemanticElements: as above.
        <span
          // biome-ignore lint/suspicious/noArrayIndexKey: a token is its position.
          key={index}
          role="listitem"
          className={`token-id ${token.special ? "font-medium" : ""}`}
          style={{ "--chip": `var(--series-${(token.id % COLOURS) + 1})` } as CSSProperties}
          {...tip(
            `“${glyphs(token.text)}”\nid ${token.id}, position ${index}${token.special ? "\nspecial token" : ""}`,
          )}
        >
          <span className="block whitespace-pre">{glyphs(token.text)}</span>
          <span className="block text-[10px] leading-3 text-muted">{token.id}</span>
        </span>
      ))}
      {length > tokens.length && (
        <span className="self-center font-sans text-muted">and {length - tokens.length} more</span>
      )}
    </div>
  );
}
