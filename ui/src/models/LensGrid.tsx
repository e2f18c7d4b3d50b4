import { type CSSProperties, type KeyboardEvent, useMemo, useRef, useState } from "react";
import { CopyButton, format, tip } from "@/kit";
import { glyphs } from "@/kit/TokenStrip";
import type { Lens } from "./playground";

type Shade = "probability" | "kl" | "rank";

const SHADES: Record<Shade, { name: string; meaning: string; formula: string }> = {
  probability: {
    name: "Probability",
    meaning: "How probable the layer finds its own first choice",
    formula: "max softmax(W_U · norm(x))",
  },
  kl: {
    name: "Distance",
    meaning: "How far the layer's distribution is from the model's own; the fuller the nearer",
    formula: "KL(p_model ‖ p_layer) = Σ p_model (ln p_model − ln p_layer), in nats",
  },
  rank: {
    name: "Rank",
    meaning: "Where the model's own first choice stands among the layer's tokens; full is first",
    formula: "1 + number of tokens with a larger logit",
  },
};

/** Layers (the last on top) × positions. Arrows move from cell to cell; hover and focus tell the five best. */
export function LensGrid({ lens }: { lens: Lens }) {
  const [shade, setShade] = useState<Shade>("probability");
  const host = useRef<HTMLTableElement>(null);
  const [at, setAt] = useState<[row: number, column: number]>([0, 0]);
  const tokens = lens.prompt_tokens.slice(lens.first);
  // The last layer on top, as the stream flows upwards.
  const rows = useMemo(() => lens.hooks.map((_, index) => lens.hooks.length - 1 - index), [lens.hooks]);
  const final = lens.hooks.length - 1;
  const move = (event: KeyboardEvent) => {
    const [row, column] = at;
    const steps: Record<string, [number, number]> = {
      ArrowRight: [row, column + 1],
      ArrowLeft: [row, column - 1],
      ArrowDown: [row + 1, column],
      ArrowUp: [row - 1, column],
      Home: [row, 0],
      End: [row, tokens.length - 1],
    };
    const next = steps[event.key];
    if (!next) return;
    event.preventDefault();
    const to: [number, number] = [
      Math.max(0, Math.min(rows.length - 1, next[0])),
      Math.max(0, Math.min(tokens.length - 1, next[1])),
    ];
    setAt(to);
    host.current?.querySelector<HTMLElement>(`[data-cell="${to[0]},${to[1]}"]`)?.focus();
  };
  return (
    <section aria-label="Logit lens" className="min-w-0">
      <div className="mb-2 flex flex-wrap items-center gap-x-4 gap-y-1">
        <fieldset className="flex items-center gap-1 rounded-[6px] bg-sunken p-0.5">
          <legend className="sr-only">Shade by</legend>
          {(Object.keys(SHADES) as Shade[]).map((one) => (
            <button
              key={one}
              type="button"
              aria-pressed={one === shade}
              className={`h-6 rounded-[5px] px-3 whitespace-nowrap ${one === shade ? "bg-raised text-ink shadow-sm" : "text-muted"}`}
              {...tip(SHADES[one].meaning, SHADES[one].formula)}
              onClick={() => setShade(one)}
            >
              {SHADES[one].name}
            </button>
          ))}
        </fieldset>
        <span className="text-xs text-muted">
          Underlined: what the model itself says. {format.plural(rows.length, "row")} ×{" "}
          {format.plural(tokens.length, "position")}
        </span>
        <span className="ml-auto" />
        <CopyButton text={table(lens)} label="Copy as a table" />
      </div>
      <div className="max-h-[70vh] overflow-auto rounded-[6px] border border-line bg-surface">
        <table ref={host} className="border-separate border-spacing-0" onKeyDown={move}>
          <caption className="sr-only">Most probable next token by layer and position</caption>
          <thead>
            <tr>
              <th className="sticky top-0 left-0 z-20 border-r border-b border-line bg-surface px-2 text-left text-xs font-normal text-muted">
                Layer
              </th>
              {tokens.map((token, column) => (
                <th
                  // biome-ignore lint/suspicious/noArrayIndexKey: a column is its position.
                  key={column}
                  scope="col"
                  className="sticky top-0 z-10 h-7 max-w-[110px] min-w-[64px] border-b border-line bg-surface px-1 text-left font-mono text-xs font-medium whitespace-pre"
                  {...tip(
                    `Token ${lens.first + column} of the prompt: “${glyphs(token.text)}”, id ${token.id}`,
                  )}
                >
                  <span className="block truncate">{glyphs(token.text)}</span>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((index, row) => (
              <tr key={lens.hooks[index]}>
                <th
                  scope="row"
                  className="sticky left-0 z-10 border-r border-line bg-surface px-2 text-right text-xs font-normal whitespace-nowrap text-muted"
                  {...tip(lens.hooks[index])}
                >
                  {index === 0 ? "input" : index - 1}
                </th>
                {tokens.map((_, column) => {
                  const ids = lens.ids[index]?.[column] ?? [];
                  const own = lens.ids[final]?.[column]?.[0];
                  return (
                    <td
                      // biome-ignore lint/suspicious/noArrayIndexKey: a column is its position.
                      key={column}
                      data-cell={`${row},${column}`}
                      tabIndex={at[0] === row && at[1] === column ? 0 : -1}
                      onFocus={() => setAt([row, column])}
                      className={`token h-[22px] max-w-[110px] min-w-[64px] truncate px-1 font-mono text-xs ${ids[0] === own ? "underline decoration-1 underline-offset-2" : ""}`}
                      style={{ "--a": share(lens, shade, index, column).toFixed(3) } as CSSProperties}
                      {...tip(words(lens, index, column))}
                    >
                      {glyphs(lens.texts[String(ids[0])] ?? "")}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** How full a cell is shaded, 0..1. */
function share(lens: Lens, shade: Shade, row: number, column: number): number {
  if (shade === "probability") return lens.probabilities[row]?.[column]?.[0] ?? 0;
  // Nats and ranks have no upper end: both fall off as they grow.
  if (shade === "kl") return Math.exp(-(lens.kl[row]?.[column] ?? 0) / 2);
  return 1 / (1 + Math.log2(lens.rank[row]?.[column] ?? 1));
}

function words(lens: Lens, row: number, column: number): string {
  const ids = lens.ids[row]?.[column] ?? [];
  const best = ids.map(
    (id, place) =>
      `${format.percent(lens.probabilities[row]?.[column]?.[place] ?? 0)}  “${glyphs(lens.texts[String(id)] ?? "")}”`,
  );
  const own = lens.ids[lens.hooks.length - 1]?.[column]?.[0];
  return [
    `${lens.hooks[row]}, after “${glyphs(lens.prompt_tokens[lens.first + column]?.text ?? "")}”`,
    ...best,
    `KL to the model ${format.figure(lens.kl[row]?.[column] ?? 0)} nats`,
    `The model's “${glyphs(lens.texts[String(own)] ?? "")}” is number ${lens.rank[row]?.[column]} here`,
  ].join("\n");
}

/** Tab-separated: the best token of every cell, the last layer first. */
function table(lens: Lens): string {
  const shown = (text: string) => JSON.stringify(text);
  const head = ["layer", ...lens.prompt_tokens.slice(lens.first).map((token) => shown(token.text))];
  const lines = lens.hooks.map((hook, row) => [
    hook,
    ...(lens.ids[row] ?? []).map((ids) => shown(lens.texts[String(ids[0])] ?? "")),
  ]);
  return [head, ...lines.reverse()].map((line) => line.join("\t")).join("\n");
}
