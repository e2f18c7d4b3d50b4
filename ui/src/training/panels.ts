/** Which charts a run's page has, from the columns that were recorded. */

export interface Panel {
  id: string;
  /** Of a panel with several columns; else the column's own. */
  title?: string;
  columns: string[];
  /** A logarithm makes sense: the values are positive. */
  log: boolean;
  /** Measured now and then. */
  sparse: boolean;
}

/** Shown in this order. A panel's columns stand together for one run; of several runs each column has its own. */
const ORDER: { id: string; title?: string; columns: string[]; log?: boolean; sparse?: boolean }[] = [
  { id: "fvu", columns: ["fvu"], log: true },
  { id: "loss", title: "Loss and its terms", columns: ["loss", "*_loss"], log: true },
  { id: "l0", columns: ["l0"], log: true },
  { id: "latents", title: "Dead and dense latents", columns: ["dead_latents", "dense_latents"] },
  { id: "ce_loss_score", columns: ["ce_loss_score"], sparse: true },
  { id: "learning_rate", columns: ["learning_rate"], log: true },
  { id: "sparsity_coefficient", columns: ["sparsity_coefficient"], log: true },
  { id: "grad_norm", columns: ["grad_norm"], log: true },
  { id: "tokens_per_second", columns: ["tokens_per_second"] },
  { id: "memory", title: "Memory", columns: ["memory_bytes", "gpu_memory_bytes"] },
  { id: "explained_variance", columns: ["explained_variance"] },
  { id: "cosine", columns: ["cosine"] },
  { id: "mse", columns: ["mse"], log: true },
  {
    id: "ce_loss_with_sae",
    columns: ["ce_loss_with_sae"],
    sparse: true,
  },
  { id: "kl_div_with_sae", columns: ["kl_div_with_sae"], log: true, sparse: true },
];
const NO_PANEL = new Set(["step", "tokens", "time", "elapsed", "dead_fraction"]);

/** The panels of these columns; what no panel knows gets one of its own at the end. */
export function panelsOf(columns: string[], severalRuns: boolean): Panel[] {
  const left = new Set(columns.filter((name) => !NO_PANEL.has(name)));
  const panels: Panel[] = [];
  const take = (pattern: string): string[] => {
    const found = [...left].filter((name) =>
      pattern.startsWith("*") ? name.endsWith(pattern.slice(1)) : name === pattern,
    );
    for (const name of found) left.delete(name);
    return found;
  };
  for (const { id, title, columns: patterns, log = false, sparse = false } of ORDER) {
    const found = patterns.flatMap(take);
    if (found.length === 0) continue;
    if (severalRuns || found.length === 1)
      for (const name of found)
        panels.push({ id: found.length === 1 ? id : name, columns: [name], log, sparse });
    else panels.push({ id, title, columns: found, log, sparse });
  }
  for (const name of left) panels.push({ id: name, columns: [name], log: false, sparse: false });
  return panels;
}
