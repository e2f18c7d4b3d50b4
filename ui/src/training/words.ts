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
