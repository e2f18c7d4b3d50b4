import * as format from "@/kit/format";
import {
  defaultsOf,
  fieldOf,
  type JsonSchema,
  labelOf,
  type Resolve,
  resolver,
  titleAt,
  type Value,
} from "@/kit/jsonSchema";
import { pathOf } from "@/training/grid";
import { KINDS } from "@/training/words";

export interface Setting {
  path: string;
  label: string;
  words: string;
  hint: string;
  /** Whether it is as it would be without having been said. */
  usual: boolean;
}

export interface SettingGroup {
  /** Null: what the template is about. */
  title: string | null;
  settings: Setting[];
}

/** Groups that only hold the rest. */
const HOLDERS = ["config", "settings"];

/** The settings of a template as its kind's form calls them, those that only say more about others in groups. */
export function keptSettings(form: JsonSchema, kept: Value): SettingGroup[] {
  const resolve = resolver(form);
  const found: SettingGroup[] = [{ title: null, settings: [] }];
  walk(form, kept, defaultsOf(form, resolve), "", found[0] as SettingGroup, found, resolve);
  const config = (kept.config ?? {}) as Value;
  const tried = Object.entries((kept.grid ?? {}) as Record<string, unknown[]>);
  // What the grid tries stands there alone.
  const paths = tried.map(([name]) => pathOf(name, config));
  for (const group of found) group.settings = group.settings.filter((one) => !paths.includes(one.path));
  found.push({
    title: "Grid: one SAE for each combination",
    settings: tried.map(([name, values], place) => ({
      path: `grid.${name}`,
      label: triedLabel(name, paths[place] as string, kept, form, resolve),
      words: values.map((one) => KINDS[`config.${name}`]?.[String(one)] ?? words(one)).join(", "),
      hint: "",
      usual: false,
    })),
  });
  return found.filter((group) => group.settings.length > 0);
}

/** What the form calls a setting that is tried; of a template that says only part of the settings too. */
function triedLabel(name: string, path: string, kept: Value, form: JsonSchema, resolve: Resolve): string {
  for (const at of [path, `config.${name}`]) {
    const title = titleAt(at, kept, form, resolve);
    if (title !== at) return title;
  }
  // Across several architectures it stands for the k of one and the target of another.
  return name === "target_l0" ? "Active latents of each" : format.sentence(name);
}

function walk(
  schema: JsonSchema,
  value: Value,
  usual: Value,
  path: string,
  group: SettingGroup,
  found: SettingGroup[],
  resolve: Resolve,
) {
  for (const [name, raw] of Object.entries(schema.properties ?? {})) {
    if (!(name in value) || name === "grid") continue;
    const field = fieldOf(raw, resolve);
    const at = path ? `${path}.${name}` : name;
    const label = labelOf(name, field.schema, raw);
    const one = value[name];
    const before = usual[name];
    if (field.kind === "object" && field.schema.properties && one) {
      let inner = group;
      if (!HOLDERS.includes(name)) {
        inner = { title: label, settings: [] };
        found.push(inner);
      }
      const without = { ...defaultsOf(field.schema, resolve), ...((before ?? {}) as Value) };
      walk(field.schema, one as Value, without, at, inner, found, resolve);
    } else if (field.kind === "union" && one) {
      const discriminator = field.discriminator ?? "";
      const kind = (one as Value)[discriminator] as string;
      const variant = field.variants.find((option) => option.name === kind)?.schema;
      group.settings.push({
        path: at,
        label,
        words: KINDS[at]?.[kind] ?? kind,
        hint: field.schema.description ?? "",
        usual: at !== "config.architecture" && kind === (before as Value | undefined)?.[discriminator],
      });
      if (!variant) continue;
      const { [discriminator]: _, ...rest } = one as Value;
      walk(variant, rest, defaultsOf(variant, resolve), at, group, found, resolve);
    } else {
      const unit = typeof one === "number" && field.schema.unit ? ` ${field.schema.unit}` : "";
      group.settings.push({
        path: at,
        label,
        words: `${words(one)}${unit}`,
        hint: field.schema.description ?? "",
        // What one reads first of an architecture, its k for one, is worth saying in any case.
        usual:
          JSON.stringify(one ?? null) === JSON.stringify(before ?? null) &&
          !(path === "config.architecture" && !field.schema.advanced),
      });
    }
  }
}

function words(value: unknown): string {
  if (value === null || value === undefined) return "not set";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return format.exact(value);
  if (Array.isArray(value)) return value.length > 0 ? value.map(words).join(", ") : "none";
  if (typeof value !== "object") return String(value);
  const turn = value as { role?: unknown; content?: unknown };
  return turn.role ? `${turn.role}: ${turn.content}` : JSON.stringify(value);
}
