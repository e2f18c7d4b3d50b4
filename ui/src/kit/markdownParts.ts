/** The parts of Markdown that cards on the hub are written in, as plain data. No HTML ever comes out of it. */

export type Block =
  | { kind: "heading"; level: number; text: string }
  | { kind: "paragraph"; text: string }
  | { kind: "code"; text: string }
  | { kind: "list"; ordered: boolean; items: Block[][] }
  | { kind: "quote"; blocks: Block[] }
  | { kind: "table"; head: string[]; rows: string[][] }
  | { kind: "rule" };

export type Inline =
  | { kind: "text"; text: string }
  | { kind: "code"; text: string }
  | { kind: "strong"; text: string }
  | { kind: "emphasis"; text: string }
  | { kind: "link"; text: string; href: string }
  | { kind: "image"; text: string };

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])\s+(.*)$/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 8;

/** The blocks of a text. `depth` bounds how far lists and quotes nest: what is deeper stays text. */
export function blocks(source: string, depth = 0): Block[] {
  const lines = withoutTags(source).replace(/\r\n?/g, "\n").split("\n");
  const found: Block[] = [];
  let paragraph: string[] = [];
  const close = () => {
    const text = paragraph.join("\n").trim();
    if (text) found.push({ kind: "paragraph", text });
    paragraph = [];
  };
  let at = 0;
  while (at < lines.length) {
    const line = lines[at] as string;
    const fence = FENCE.exec(line)?.[1];
    const heading = HEADING.exec(line);
    const item = ITEM.exec(line);
    if (fence) {
      close();
      const code: string[] = [];
      for (at++; at < lines.length && !(lines[at] as string).trimStart().startsWith(fence); at++)
        code.push(lines[at] as string);
      at++;
      found.push({ kind: "code", text: code.join("\n") });
    } else if (heading) {
      close();
      found.push({ kind: "heading", level: (heading[1] as string).length, text: heading[2] as string });
      at++;
    } else if (RULE.test(line) && paragraph.length === 0) {
      found.push({ kind: "rule" });
      at++;
    } else if (/^ {0,3}>/.test(line) && depth < DEEPEST) {
      close();
      const quoted: string[] = [];
      for (; at < lines.length && /^ {0,3}>/.test(lines[at] as string); at++)
        quoted.push((lines[at] as string).replace(/^ {0,3}> ?/, ""));
      found.push({ kind: "quote", blocks: blocks(quoted.join("\n"), depth + 1) });
    } else if (item && depth < DEEPEST) {
      close();
      const list: Block = { kind: "list", ordered: /\d/.test(item[2] as string), items: [] };
      at = readItems(lines, at, list.items, list.ordered, depth);
      found.push(list);
    } else if (line.includes("|") && DIVIDER.test(lines[at + 1] ?? "") && cells(line).length > 1) {
      close();
      const head = cells(line);
      const rows: string[][] = [];
      for (at += 2; at < lines.length && (lines[at] as string).includes("|"); at++)
        rows.push(head.map((_, column) => cells(lines[at] as string)[column] ?? ""));
      found.push({ kind: "table", head, rows });
    } else {
      if (line.trim() === "") close();
      else paragraph.push(line);
      at++;
    }
  }
  close();
  return found;
}

function readItems(lines: string[], from: number, items: Block[][], ordered: boolean, depth: number): number {
  let at = from;
  while (at < lines.length) {
    const item = ITEM.exec(lines[at] as string);
    if (!item || /\d/.test(item[2] as string) !== ordered) break;
    const indent = (item[1] as string).length + (item[2] as string).length + 1;
    const inner = [item[3] as string];
    for (at++; at < lines.length; at++) {
      const line = lines[at] as string;
      const indented = line.search(/\S/) >= Math.min(indent, 2);
      if (line.trim() === "" ? !/^\s{2,}\S/.test(lines[at + 1] ?? "") : !indented) break;
      inner.push(line.trim() === "" ? "" : line.slice(Math.min(indent, line.search(/\S/))));
    }
    items.push(blocks(inner.join("\n"), depth + 1));
    while (at < lines.length && (lines[at] as string).trim() === "" && ITEM.test(lines[at + 1] ?? "")) at++;
  }
  return at;
}

function cells(line: string): string[] {
  return line
    .trim()
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** Comments and tags go, what stands between them stays. Code keeps its angle brackets. */
function withoutTags(text: string): string {
  return text
    .split(/(```[\s\S]*?(?:```|$)|`[^`\n]*`)/)
    .map((part, index) =>
      index % 2 === 1
        ? part
        : part
            .replace(/<(script|style)\b[\s\S]*?(?:<\/\1\s*>|$)/gi, "")
            .replace(/<!--[\s\S]*?(?:-->|$)/g, "")
            .replace(/<img\b[^>]*?\balt\s*=\s*"([^"]*)"[^>]*>/gi, "![$1](picture)")
            .replace(/<br\s*\/?>/gi, "\n")
            .replace(/<((?:https?:\/\/)[^\s<>]+)>/gi, "[$1]($1)")
            .replace(/<\/?[a-z][^<>]*>/gi, ""),
    )
    .join("");
}

const SPAN =
  /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|!\[([^\]]*)\]\([^()\s]*(?:\s+"[^"]*")?\)|\[((?:!\[[^\]]*\]\([^)]*\)|[^[\]])*)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+"[^"]*")?\)|(\*\*|__)(?=\S)([\s\S]*?\S)\6|(?<![\w*])([*_])(?=[^\s*_])([\s\S]*?[^\s*_])\8(?![\w*])|(https?:\/\/[^\s<>()[\]]*[^\s<>()[\].,;:!?'"])|\\([\\`*_{}[\]()#+\-.!|<>])/;

/** The spans of a line. */
export function inlines(text: string): Inline[] {
  const found: Inline[] = [];
  const say = (plain: string) => {
    const last = found.at(-1);
    if (last?.kind === "text") last.text += plain;
    else if (plain) found.push({ kind: "text", text: plain });
  };
  let rest = text;
  while (rest) {
    const match = SPAN.exec(rest);
    if (!match) break;
    say(rest.slice(0, match.index));
    rest = rest.slice(match.index + match[0].length);
    if (match[1]) found.push({ kind: "code", text: (match[2] as string).trim() });
    else if (match[3] !== undefined) found.push({ kind: "image", text: match[3] });
    else if (match[4] !== undefined) {
      const href = safeAddress(match[5] as string);
      if (href) found.push({ kind: "link", text: match[4], href });
      else found.push(...inlines(match[4]));
    } else if (match[6]) found.push({ kind: "strong", text: match[7] as string });
    else if (match[8]) found.push({ kind: "emphasis", text: match[9] as string });
    else if (match[11]) say(match[11]);
    else if (match[10])
      found.push({ kind: "link", text: match[10].replace(/^https?:\/\//, ""), href: match[10] });
  }
  say(rest);
  return found;
}

/** An address that may be followed, or null: scripts, data and everything relative may not. */
export function safeAddress(address: string): string | null {
  try {
    const url = new URL(address);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}
