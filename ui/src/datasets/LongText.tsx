import { ChevronDown, ChevronUp } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { format, IconButton, useKeys } from "@/kit";
import { type Mark, Marked } from "./Marked";

/** Longer texts are folded until one asks for them. */
const FOLDED = 2_000;
/** Characters shown before a match, where the text is folded. */
const BEFORE = 300;

/** A text, folded when it is long, its matches one key apart: the part around the present match is shown. */
export function LongText({ text, marks }: { text: string; marks: Mark[] }) {
  const [whole, setWhole] = useState(false);
  const [at, setAt] = useState(0);
  const box = useRef<HTMLParagraphElement>(null);
  const folded = !whole && text.length > FOLDED * 1.25;
  const start = marks[at]?.start ?? 0;
  const from = folded && start > FOLDED / 2 ? start - BEFORE : 0;
  const shown = folded ? [...text].slice(0, from + FOLDED).join("") : text;
  const go = (step: number) => setAt((at + step + marks.length) % marks.length);
  useKeys(
    "Matches",
    [
      { keys: "n", label: "next match in the row", run: () => go(1) },
      { keys: "N", label: "previous match in the row", run: () => go(-1) },
    ],
    marks.length > 1,
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: another match or another fold moves it.
  useEffect(() => {
    box.current?.querySelector("[data-current]")?.scrollIntoView({ block: "nearest" });
  }, [at, whole]);
  return (
    <>
      {marks.length > 0 && (
        <div className="flex items-center gap-1 text-xs text-muted">
          {marks.length === 1 ? "1 match" : `Match ${at + 1} of ${format.figure(marks.length)}`}
          {marks.length > 1 && (
            <>
              <IconButton label="Previous match ( N )" size="size-6" onClick={() => go(-1)}>
                <ChevronUp size={14} />
              </IconButton>
              <IconButton label="Next match ( n )" size="size-6" onClick={() => go(1)}>
                <ChevronDown size={14} />
              </IconButton>
            </>
          )}
        </div>
      )}
      <p ref={box} className="break-words whitespace-pre-wrap">
        {from > 0 && "…"}
        <Marked text={shown} marks={marks} from={from} current={marks.length > 1 ? at : undefined} />
        {shown.length < text.length && "…"}
      </p>
      {text.length > FOLDED * 1.25 && (
        <button type="button" className="mt-1 rounded-[3px] link" onClick={() => setWhole(!whole)}>
          {whole ? "Fold" : `Show all ${format.plural([...text].length, "character")}`}
        </button>
      )}
    </>
  );
}
