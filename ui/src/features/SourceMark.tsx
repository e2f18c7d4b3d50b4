import { Bot, UserRound } from "lucide-react";
import { format, tip } from "@/kit";

/** Who gave a label, and how well it tells held-out examples from other text. */
export function SourceMark({
  source,
  score,
  words = true,
}: {
  source: string | null;
  score: number | null;
  words?: boolean;
}) {
  if (source === null) return null;
  const person = source === "person";
  const name = person ? "by hand" : source.replace(/^machine:/, "");
  return (
    <span className="inline-flex items-center gap-1 text-muted">
      <span
        className={person ? "text-accent" : "text-faint"}
        {...tip(person ? "Written by hand" : `By machine: ${name}`)}
      >
        {person ? <UserRound size={13} aria-hidden="true" /> : <Bot size={13} aria-hidden="true" />}
        <span className="sr-only">{person ? "Written by hand" : `By machine: ${name}`}</span>
      </span>
      {words && <span aria-hidden="true">{name}</span>}
      {words && score !== null && (
        <span {...tip(`Score ${format.exact(score)}: 0.5 is chance, 1 is perfect`, SCORE)}>
          score {format.figure(score, 2)}
        </span>
      )}
    </span>
  );
}

export const SCORE = "(true positive rate + true negative rate) / 2";
