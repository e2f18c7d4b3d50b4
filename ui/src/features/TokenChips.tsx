import { glyphs } from "@/kit/TokenStrip";

/** A feature's strongest tokens as chips, as many as fit. */
export function TokenChips({ tokens }: { tokens: string[] }) {
  return (
    <span className="flex gap-1 overflow-hidden">
      {tokens.map((token) => (
        <code key={token} className="shrink-0 rounded-[3px] bg-sunken px-1 whitespace-pre">
          {glyphs(token).trim()}
        </code>
      ))}
    </span>
  );
}
