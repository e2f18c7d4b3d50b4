import type { components } from "@/api/schema";

export type Generation = components["schemas"]["GenerationOut"];
export type Side = "unsteered" | "steered";
export type Tokens = components["schemas"]["TokenPiece"][];

export interface TokensEvent {
  generation: string;
  side: Side;
  start: number;
  tokens: Tokens;
  finish: string | null;
}

export type Known = ReadonlyMap<string, Generation>;

const written = (one: Generation) =>
  Object.values(one.outputs).reduce((sum, output) => sum + (output?.tokens?.length ?? 0), 0);

/** Of two views of a generation the later: a finished one, else the one that has more tokens. */
export function later(known: Generation | undefined, incoming: Generation): Generation {
  if (!known || incoming.finished_at) return incoming;
  if (known.finished_at) return known;
  // What is stored lags behind what was streamed.
  return written(incoming) >= written(known) ? incoming : { ...incoming, outputs: known.outputs };
}

export function keep(known: Known, incoming: Generation[]): Known {
  const next = new Map(known);
  for (const one of incoming) next.set(one.id, later(known.get(one.id), one));
  return next;
}

/** Tokens as they stream; null when some before them are missing, so that the generation is to be fetched. */
export function append(known: Known, event: TokensEvent): Known | null {
  const one = known.get(event.generation);
  if (!one) return null;
  const output: components["schemas"]["TextOutput"] = one.outputs[event.side] ?? { text: "" };
  const tokens = output.tokens ?? [];
  if (event.start > tokens.length) return null;
  const fresh = event.tokens.slice(tokens.length - event.start);
  const changed = {
    ...output,
    text: (output.text ?? "") + fresh.map((token) => token.text).join(""),
    tokens: [...tokens, ...fresh],
    finish: (event.finish as typeof output.finish) ?? output.finish ?? null,
  };
  return new Map(known).set(one.id, {
    ...one,
    state: one.finished_at ? one.state : "writing",
    outputs: { ...one.outputs, [event.side]: changed },
  });
}
