import * as format from "@/kit/format";
import { architectureName } from "@/saes/architectures";
import type { Training } from "./form";

/** What the settings that are a choice between kinds are called; the form offers them in this order. */
export const KINDS: Record<string, Record<string, string>> = {
  "config.architecture": {
    batch_topk: architectureName("batch_topk"),
    topk: architectureName("topk"),
    matryoshka: architectureName("matryoshka"),
    jump_relu: architectureName("jump_relu"),
    gated: architectureName("gated"),
    standard: `${architectureName("standard")} (ReLU with a sparsity penalty)`,
  },
  "config.optimizer": { adam: "Adam", muon: "Muon", signum: "Signum" },
  "config.dead_latents": { architecture: "As the architecture does", resample: "Resample" },
};

/** What other people named: never to be reworded. */
const NAMED = ["model", "dataset", "tokenization"];

/** A setting's value as the form shows it: kinds by their names, numbers in groups, as they were given. */
export function settingWords(name: string, value: unknown): string {
  if (value === undefined) return "–";
  if (value === null) return "not set";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return format.exact(value);
  if (Array.isArray(value)) return value.map((one) => settingWords(name, one)).join(", ") || "none";
  if (typeof value !== "string") return JSON.stringify(value);
  const bare = name.replace(/^config\./, "").replace(/\.kind$/, "");
  if (NAMED.includes(bare)) return value;
  if (bare === "hook") return hookWords(value);
  if (bare === "architecture") return architectureName(value);
  // A list as the database tells it.
  if (/^\[.*\]$/.test(value)) return value.slice(1, -1).replaceAll(/,\s*/g, ", ");
  return KINDS[`config.${bare}`]?.[value] ?? value.replaceAll("_", " ");
}

/** A hook point where there is little room: "6.resid_post" for "blocks.6.hook_resid_post". */
export const hookWords = (hook: string) => hook.replace(/^blocks\.(.*?)hook_/, "$1");

/** "BatchTopK, k 32", "JumpReLU, L0 64", "Standard, λ 5": an architecture and what sets its sparsity. */
export function architectureWords(architecture: Training["config"]["architecture"]): string {
  if (!architecture) return "unknown";
  const name = architectureName(architecture.kind);
  if ("k" in architecture) return `${name}, k ${architecture.k}`;
  if ("target_l0" in architecture && architecture.target_l0) return `${name}, L0 ${architecture.target_l0}`;
  if ("l1_coefficient" in architecture) return `${name}, λ ${architecture.l1_coefficient}`;
  if ("sparsity_coefficient" in architecture) return `${name}, λ ${architecture.sparsity_coefficient}`;
  return name;
}

const TRACKERS: Record<string, string> = {
  tensorboard: "TensorBoard",
  wandb: "Weights & Biases",
  trackio: "trackio",
};

/** "TensorBoard, trackio (project mistudio)": where curves are sent to besides. */
export function trackerWords({ trackers, tracker_project }: Training): string {
  const names = trackers.map((kind) => TRACKERS[kind] ?? kind).join(", ");
  // TensorBoard's files lie with the run; only the others file it under a project.
  return trackers.some((kind) => kind !== "tensorboard") ? `${names} (project ${tracker_project})` : names;
}

/** "Learning rate 3.00e−4 → 1.00e−4": a setting that was changed while the run trained. */
export function changeWords(change: { name: string; title?: string; before: number; after: number }): string {
  const { name, title = name.slice(name.lastIndexOf(".") + 1).replaceAll("_", " ") } = change;
  return `${title} ${format.figure(change.before)} → ${format.figure(change.after)}`;
}
