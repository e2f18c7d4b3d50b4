import type { components } from "@/api/schema";

export type ModuleNode = components["schemas"]["ModuleNodeOut"];
export type HookSite = components["schemas"]["HookSiteOut"];

export interface TreeRow {
  node: ModuleNode;
  depth: number;
  /** Its path for the chosen layer; what the server says is said of the first of equal blocks. */
  path: string;
  /** "0", or "0–29" for equal neighbours. */
  name: string;
  hooks: HookSite[];
  open: boolean;
}

/** Which of the equal neighbours of a list is spoken of: the chosen layer, kept within the node. */
export function chosenIndex(node: ModuleNode, layer: number): number {
  return Math.max(Number(node.name), Math.min(node.last ?? Number(node.name), layer));
}

/** The rows that are in view: children only of what is open, names as they are for `layer`. */
export function visibleRows(root: ModuleNode, open: ReadonlySet<string>, layer: number): TreeRow[] {
  const rows: TreeRow[] = [];
  const walk = (node: ModuleNode, depth: number, rename: (text: string) => string) => {
    const block = node.last !== null;
    const index = block ? chosenIndex(node, layer) : 0;
    // Hook points and paths of the block that is spoken of, in place of those of the first.
    const inside = block
      ? (text: string) =>
          rename(text)
            .replace(new RegExp(`^${escaped(node.path)}(?=\\.|$)`), `${parent(node.path)}${index}`)
            .replace(new RegExp(`^blocks\\.${node.name}\\.`), `blocks.${index}.`)
      : rename;
    const isOpen = open.has(node.path);
    rows.push({
      node,
      depth,
      path: inside(node.path),
      name: block ? `${node.name}–${node.last}` : node.name,
      hooks: node.hooks.map((site) => ({ ...site, name: inside(site.name) })),
      open: isOpen,
    });
    if (isOpen) for (const child of node.children) walk(child, depth + 1, inside);
  };
  walk(root, 0, (text) => text);
  return rows;
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const parent = (path: string) => path.slice(0, path.lastIndexOf(".") + 1);

/** What is open at first: everything down to the blocks, and what a block is made of. */
export function firstOpen(root: ModuleNode): Set<string> {
  const open = new Set<string>();
  const walk = (node: ModuleNode, inBlock: boolean) => {
    if (node.children.length === 0) return;
    open.add(node.path);
    for (const child of node.children) if (!inBlock) walk(child, child.last !== null);
  };
  walk(root, false);
  return open;
}

/** How many blocks stand in the longest row of equal ones. */
export function depthOf(root: ModuleNode): number {
  const own = root.last === null ? 0 : root.last + 1;
  return Math.max(own, ...root.children.map(depthOf), 0);
}
