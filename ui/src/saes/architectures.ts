/** What the architectures are called; a training offers those that `training/words.ts` lists. */
export const ARCHITECTURES: Record<string, string> = {
  batch_topk: "BatchTopK",
  topk: "TopK",
  matryoshka: "Matryoshka",
  jump_relu: "JumpReLU",
  gated: "Gated",
  standard: "Standard",
  abs_topk: "AbsTopK",
  matching_pursuit: "Matching pursuit",
  temporal: "Temporal",
};

/** The name of an architecture; of one that is not known here, its own word for itself. */
export function architectureName(kind: string | null | undefined): string {
  return kind ? (ARCHITECTURES[kind] ?? kind) : "–";
}
