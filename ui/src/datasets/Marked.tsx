import type { ReactNode } from "react";
import type { components } from "@/api/schema";

export type Mark = components["schemas"]["MarkOut"];

/** A text with its matches marked. Marks count characters as the server does: code points, not UTF-16 units. */
export function Marked({
  text,
  marks,
  from = 0,
  current,
}: {
  text: string;
  marks: Mark[];
  /** Characters left out at the beginning. */
  from?: number;
  /** The mark that is looked at among several. */
  current?: number;
}) {
  if (marks.length === 0) return <>{from > 0 ? [...text].slice(from).join("") : text}</>;
  const characters = [...text];
  const pieces: ReactNode[] = [];
  let at = from;
  for (const [index, { start, end }] of marks.entries()) {
    if (end <= at || start >= characters.length) continue;
    const begin = Math.max(start, at);
    if (begin > at) pieces.push(characters.slice(at, begin).join(""));
    pieces.push(
      <mark
        key={begin}
        data-current={index === current ? "" : undefined}
        className={`rounded-[2px] bg-heat text-ink ${index === current ? "outline-2 outline-accent" : ""}`}
      >
        {characters.slice(begin, end).join("")}
      </mark>,
    );
    at = end;
  }
  pieces.push(characters.slice(at).join(""));
  return <>{pieces}</>;
}
