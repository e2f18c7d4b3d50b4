import { fieldOf, type JsonSchema, problemsOf, propertyAt, type Resolve, type Value } from "@/kit/jsonSchema";

/** The groups of settings that are a choice between kinds. */
const GROUPS = ["architecture", "optimizer", "dead_latents"];
/** Settings that cannot differ between SAEs of one pass, or make no sense to. */
const ALONE = ["config.skip_connection", "config.hidden_dim", "config.log_every"];

/** The name under which a grid keeps the values of a field: "k", "learning_rate", "optimizer.weight_decay". */
export function gridName(path: string): string | null {
  const [root, ...parts] = path.split(".");
  if (root !== "config" || ALONE.includes(path) || parts.length === 0) return null;
  return parts[0] === "architecture" && parts.length > 1 ? (parts[1] ?? null) : parts.join(".");
}

/** The path of the form's field whose values a grid keeps under a name. */
export function pathOf(name: string, config: Value): string {
  if (name in config || name.includes(".")) return `config.${name}`;
  return `config.architecture.${name}`;
}

/** A grid without the settings that the chosen architecture, optimiser and so on do not have. */
export function fitting(grid: Record<string, unknown[]>, config: Value): Record<string, unknown[]> {
  const several = (grid.architecture?.length ?? 0) > 1;
  return Object.fromEntries(
    Object.entries(grid).filter(([name]) => {
      if (several && name === "target_l0") return true;
      const [group, inner] = name.includes(".") ? name.split(".") : ["architecture", name];
      if (name in config) return true;
      if (several && group === "architecture") return false;
      return (
        GROUPS.includes(group as string) && (inner as string) in ((config[group as string] ?? {}) as Value)
      );
    }),
  );
}

/** How many SAEs a request trains. */
export function countOf(value: Value): number {
  const hooks = ((value.hooks as string[] | undefined) ?? []).length;
  return Object.values((value.grid ?? {}) as Record<string, unknown[]>).reduce(
    (count, values) => count * values.length,
    hooks,
  );
}

/** What is wrong with the values of a grid, by the path of their field. */
export function gridProblems(
  grid: Record<string, unknown[]>,
  config: Value,
  schema: JsonSchema,
  resolve: Resolve,
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, values] of Object.entries(grid)) {
    const path = pathOf(name, config);
    if (values.length === 0) found[path] = "Give at least one value.";
    const raw = propertyAt(path.split(".").slice(1), config, schema, resolve);
    if (!raw || fieldOf(raw, resolve).kind === "union") continue;
    for (const one of values) {
      const problem = problemsOf({ properties: { [name]: raw } }, { [name]: one }, resolve)[name];
      if (problem) found[path] = `${String(one)}: ${problem}`;
    }
    if (new Set(values.map(String)).size < values.length) found[path] = "A value stands here twice.";
  }
  return found;
}
