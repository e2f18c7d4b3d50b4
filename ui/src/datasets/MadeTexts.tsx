import type { Problem } from "@/api/problem";
import { ErrorNote } from "@/kit";

/** What a recipe makes of the first rows, or why it makes nothing. */
export function MadeTexts({ texts, failed }: { texts: string[] | null | undefined; failed: Problem | null }) {
  const told = failed !== null && Object.keys(failed.fields).length > 0; // beside the field already
  return (
    <div>
      <h3 className="mb-1 text-xs text-muted">The first rows</h3>
      {failed && !told && <ErrorNote error={failed} />}
      {told && failed?.hint && <p className="text-muted">{failed.hint}</p>}
      {!failed && !texts && <p className="text-muted">Choose what to compose.</p>}
      {!failed && texts && (
        <ol className="flex max-h-64 flex-col gap-1 overflow-y-auto">
          {texts.map((text, index) => (
            <li
              // biome-ignore lint/suspicious/noArrayIndexKey: a row is its number.
              key={index}
              className="max-h-28 shrink-0 overflow-hidden rounded-[5px] bg-sunken px-2 py-1 font-mono text-xs break-words whitespace-pre-wrap"
            >
              {text || <span className="text-muted">(empty)</span>}
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}
