import { format, tip } from "@/kit";
import { glyphs } from "@/kit/TokenStrip";
import type { Feature } from "./query";

const FORMULA = "W_dec[i] @ W_U";

/** The tokens that a feature makes more and less probable, as two columns of bars. */
export function Logits({ feature, count = 10 }: { feature: Feature; count?: number }) {
  const top = feature.top_logits.slice(0, count);
  const bottom = feature.bottom_logits.slice(0, count);
  const largest = Math.max(1e-9, ...[...top, ...bottom].map((one) => Math.abs(one.value)));
  return (
    <div className="grid grid-cols-2 gap-x-3">
      {(
        [
          ["Raises", top, "bg-[var(--series-1)]"],
          ["Lowers", bottom, "bg-[var(--series-2)]"],
        ] as const
      ).map(([title, logits, colour]) => (
        <div key={title} className="min-w-0">
          <div
            className="mb-1 text-2xs text-muted"
            {...tip(
              "What one unit of activation adds to the token's logit, by the decoder's direction",
              FORMULA,
            )}
          >
            {title} the logit of
          </div>
          <ul>
            {logits.map((one) => (
              <li
                key={one.id}
                className="relative flex h-5 items-center gap-1 text-xs"
                {...tip(`“${glyphs(one.token)}” (token ${one.id}): ${format.exact(one.value)}`)}
              >
                <span
                  aria-hidden="true"
                  className={`absolute inset-y-0.5 left-0 rounded-[2px] opacity-20 ${colour}`}
                  style={{ width: `${(Math.abs(one.value) / largest) * 100}%` }}
                />
                <code className="relative min-w-0 flex-1 truncate pl-1 whitespace-pre">
                  {glyphs(one.token)}
                </code>
                <span className="relative text-2xs text-muted">{format.figure(one.value, 2)}</span>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </div>
  );
}
