/** What may stand at the caret in a filter: names of fields, operators, values. The server alone parses filters. */

export interface Known {
  name: string;
  title: string;
  kind: string;
  choices: readonly string[];
}

export type Place =
  /** From this position on stands the beginning of a name. */
  | { kind: "field"; from: number; start: string }
  /** A whole name stands there, and what it is compared by does not yet. */
  | { kind: "operator"; from: number; field: string }
  | { kind: "value"; from: number; field: string; start: string };

const VALUE = /(?:^|[\s(-])([A-Za-z_][\w.]*)(?:>=|<=|!=|[:=<>~])(?:[^\s()"]*,)?("[^"]*|[^\s()",]*)$/;
const NAME = /(?:^|[\s(]|[\s(]-|^-)([A-Za-z_][\w.]*)?$/;

/** Where in the filter the caret stands; null inside of what cannot be completed. */
export function placeAt(text: string, caret: number, names: ReadonlySet<string>): Place | null {
  const before = text.slice(0, caret);
  const value = VALUE.exec(before);
  if (value) {
    const typed = value[2] ?? "";
    return {
      kind: "value",
      from: caret - typed.length,
      field: value[1] ?? "",
      start: typed.replace(/^"/, ""),
    };
  }
  if ((before.match(/"/g) ?? []).length % 2 === 1) return null;
  const name = NAME.exec(before);
  if (!name) return null;
  const start = name[1] ?? "";
  if (names.has(start.toLowerCase())) return { kind: "operator", from: caret, field: start };
  return { kind: "field", from: caret - start.length, start };
}

/** The filter without the condition at its end that has no value yet. */
export function finished(text: string, place: Place | null): string {
  if (place?.kind === "operator" || (place?.kind === "field" && place.start !== ""))
    return text.replace(/[^\s()]*$/, "").replace(/(^|\s)(OR)?\s*$/, "");
  if (place?.kind === "value" && place.start === "" && !text.endsWith(","))
    return text.replace(/[^\s()]*$/, "").replace(/(^|\s)(OR)?\s*$/, "");
  return text;
}

/** Fields whose name or title a beginning fits, the best first. */
export function fieldsFor(start: string, fields: readonly Known[], most = 12): Known[] {
  const wanted = start.toLowerCase();
  const rank = (field: Known) => {
    const name = field.name.toLowerCase();
    if (name.startsWith(wanted)) return 0;
    if (field.title.toLowerCase().startsWith(wanted)) return 1;
    return name.includes(wanted) || field.title.toLowerCase().includes(wanted) ? 2 : 3;
  };
  return fields
    .map((field) => ({ field, rank: rank(field) }))
    .filter((one) => one.rank < 3)
    .toSorted((one, other) => one.rank - other.rank)
    .slice(0, most)
    .map((one) => one.field);
}

/** The operators that a field may be compared by, with what they mean. */
export function operatorsOf(field: Known): [operator: string, meaning: string][] {
  if (field.kind === "number" || field.kind === "time")
    return [
      ["<", "less than"],
      [">", "more than"],
      ["<=", "at most"],
      [">=", "at least"],
      [":", "equal to"],
      ["!=", "not equal to"],
    ];
  if (field.kind === "flag") return [[":", "is"]];
  return [
    [":", "is (* stands for anything)"],
    ["~", "contains"],
    ["!=", "is not"],
  ];
}

/** A value as it is written in a filter. */
export function quoted(value: string): string {
  return /^[^\s()",]+$/.test(value) ? value : `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** The filter with one condition more, or the same if it is there. */
export function withCondition(filter: string, condition: string): string {
  if (filter.split(/\s+/).includes(condition) || filter === condition) return filter;
  const kept = /\bOR\b/.test(filter) ? `(${filter})` : filter;
  return kept ? `${kept} ${condition}` : condition;
}
