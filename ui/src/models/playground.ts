/** What was asked of a model, as it comes over the channel: requests that grow token by token. */
import type { components } from "@/api/schema";

export type ModelRequest = components["schemas"]["ModelRequestOut"];
export type Piece = components["schemas"]["GeneratedPiece"];
export type Lens = components["schemas"]["LensResult"];
export type Known = ReadonlyMap<string, ModelRequest>;

export interface TokensEvent {
  request: string;
  start: number;
  tokens: Piece[];
  finish: string | null;
}

const written = (one: ModelRequest) => one.generation?.tokens?.length ?? 0;

/** Of two views of a request the later: a finished one, else the one that has more tokens. Grids are kept. */
function later(known: ModelRequest | undefined, incoming: ModelRequest): ModelRequest {
  if (!known) return incoming;
  if (incoming.finished_at) return { ...incoming, lens: incoming.lens ?? known.lens ?? null };
  if (known.finished_at) return known;
  // What is stored lags behind what was streamed.
  return written(incoming) >= written(known)
    ? incoming
    : { ...incoming, generation: known.generation ?? null };
}

export function keep(known: Known, incoming: ModelRequest[]): Known {
  const next = new Map(known);
  for (const one of incoming) next.set(one.id, later(known.get(one.id), one));
  return next;
}

/** Tokens as they stream; null when some before them are missing, so that the request is to be fetched. */
export function append(known: Known, event: TokensEvent): Known | null {
  const one = known.get(event.request);
  if (!one) return null;
  const result = one.generation ?? { prompt_tokens: [], tokens: [], text: "", finish: null };
  const tokens = result.tokens ?? [];
  if (event.start > tokens.length) return null;
  const fresh = event.tokens.slice(tokens.length - event.start);
  return new Map(known).set(one.id, {
    ...one,
    state: one.finished_at ? one.state : "writing",
    generation: {
      ...result,
      text: (result.text ?? "") + fresh.map((token) => token.text).join(""),
      tokens: [...tokens, ...fresh],
      finish: (event.finish as typeof result.finish) ?? result.finish ?? null,
    },
  });
}

/** The newest first. */
export function newestFirst(known: Known): ModelRequest[] {
  return [...known.values()].sort(
    (one, other) => other.created_at.localeCompare(one.created_at) || other.id.localeCompare(one.id),
  );
}
