import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { blocks, inlines, safeAddress } from "./markdownParts";

describe("blocks", () => {
  it("finds headings, paragraphs, code, lists, quotes, tables and rules", () => {
    const text = [
      "# Title #",
      "One",
      "paragraph.",
      "",
      "```python",
      "# not a heading <b>",
      "```",
      "- a",
      "  1. deep",
      "- b",
      "",
      "> quoted",
      "> - item",
      "",
      "| x | y |",
      "|---|:-:|",
      "| 1 | a\\|b |",
      "| 2 |",
      "",
      "---",
    ].join("\n");
    expect(blocks(text)).toEqual([
      { kind: "heading", level: 1, text: "Title" },
      { kind: "paragraph", text: "One\nparagraph." },
      { kind: "code", text: "# not a heading <b>" },
      {
        kind: "list",
        ordered: false,
        items: [
          [
            { kind: "paragraph", text: "a" },
            { kind: "list", ordered: true, items: [[{ kind: "paragraph", text: "deep" }]] },
          ],
          [{ kind: "paragraph", text: "b" }],
        ],
      },
      {
        kind: "quote",
        blocks: [
          { kind: "paragraph", text: "quoted" },
          { kind: "list", ordered: false, items: [[{ kind: "paragraph", text: "item" }]] },
        ],
      },
      {
        kind: "table",
        head: ["x", "y"],
        rows: [
          ["1", "a|b"],
          ["2", ""],
        ],
      },
      { kind: "rule" },
    ]);
  });

  it("drops tags, scripts and comments, and keeps what stands between tags", () => {
    const text = '<div align="center">\n<h1>Hi</h1>\n</div><script>alert(1)</script><!-- gone --> a < b';
    expect(blocks(text)).toEqual([{ kind: "paragraph", text: "Hi\n a < b" }]);
    expect(blocks("never closed <script>alert(1)")).toEqual([{ kind: "paragraph", text: "never closed" }]);
  });

  it("ends for every text", () => {
    const hostile = fc.string({ unit: fc.constantFrom(..."#-*_`>|[]()! \n1.<a/b>~\\"), maxLength: 300 });
    fc.assert(
      fc.property(hostile, (text) => {
        for (const block of blocks(text)) if ("text" in block) inlines(block.text);
      }),
    );
    const started = performance.now();
    for (const text of ["[".repeat(20_000), "**a".repeat(5000), "> ".repeat(5000), "`".repeat(20_000)])
      for (const block of blocks(text)) if ("text" in block) inlines(block.text);
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

describe("inlines", () => {
  it("finds code, strong, emphasis, links and pictures", () => {
    expect(
      inlines("a `b*c*` **bold _it_** *em* [t](https://x.org/a_(b)) ![alt](p.png) snake_case_name"),
    ).toEqual([
      { kind: "text", text: "a " },
      { kind: "code", text: "b*c*" },
      { kind: "text", text: " " },
      { kind: "strong", text: "bold _it_" },
      { kind: "text", text: " " },
      { kind: "emphasis", text: "em" },
      { kind: "text", text: " " },
      { kind: "link", text: "t", href: "https://x.org/a_(b)" },
      { kind: "text", text: " " },
      { kind: "image", text: "alt" },
      { kind: "text", text: " snake_case_name" },
    ]);
    expect(inlines("see https://x.org/a, and \\*not\\*")).toEqual([
      { kind: "text", text: "see " },
      { kind: "link", text: "x.org/a", href: "https://x.org/a" },
      { kind: "text", text: ", and *not*" },
    ]);
  });

  it("follows only http and https addresses", () => {
    expect(inlines("[x](javascript:alert(1))")).toEqual([{ kind: "text", text: "x" }]);
    for (const bad of [
      "javascript:alert(1)",
      "data:text/html,x",
      "/api/v1/jobs",
      "x.md",
      "//x.org",
      "JAVASCRIPT:1",
    ])
      expect(safeAddress(bad)).toBeNull();
    expect(safeAddress("HTTPS://x.org")).toBe("https://x.org/");
  });
});
