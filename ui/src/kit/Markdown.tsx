import { Fragment, type ReactNode } from "react";
import { type Block, blocks, type Inline, inlines } from "./markdownParts";

/**
 * Text that strangers wrote, as Markdown. Nothing of it is ever HTML: tags are dropped, images are only named (nothing is
 * fetched from anywhere), and links lead only to http(s) addresses.
 */
export function Markdown({ text }: { text: string }) {
  return <div className="flex max-w-[75ch] flex-col gap-2 break-words">{blocks(text).map(block)}</div>;
}

const SIZES = ["text-xl", "text-lg", "text-sm", "text-sm", "text-sm", "text-sm"];

function block(part: Block, index: number): ReactNode {
  const key = index;
  switch (part.kind) {
    case "heading": {
      // The page has its own h1 and h2.
      const Tag = `h${Math.min(6, part.level + 2)}` as "h3";
      return (
        <Tag key={key} className={`mt-2 font-semibold ${SIZES[part.level - 1]}`}>
          {line(part.text)}
        </Tag>
      );
    }
    case "code":
      return (
        <pre key={key} className="overflow-x-auto rounded-[5px] bg-sunken px-3 py-2">
          <code>{part.text}</code>
        </pre>
      );
    case "list": {
      const Tag = part.ordered ? "ol" : "ul";
      return (
        <Tag key={key} className={`flex flex-col gap-1 pl-5 ${part.ordered ? "list-decimal" : "list-disc"}`}>
          {part.items.map((item, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: the text does not change under them.
            <li key={at}>{item.map(block)}</li>
          ))}
        </Tag>
      );
    }
    case "quote":
      return (
        <blockquote key={key} className="flex flex-col gap-2 border-l-2 border-line-strong pl-3 text-muted">
          {part.blocks.map(block)}
        </blockquote>
      );
    case "table":
      return (
        <div key={key} className="overflow-x-auto">
          <table className="border-collapse text-xs">
            <thead>
              <tr className="border-b border-line-strong text-left">
                {part.head.map((cell, at) => (
                  // biome-ignore lint/suspicious/noArrayIndexKey: the text does not change under them.
                  <th key={at} className="px-2 py-1 font-medium">
                    {line(cell)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {part.rows.map((row, at) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: the text does not change under them.
                <tr key={at} className="border-b border-line/60 align-top">
                  {row.map((cell, column) => (
                    // biome-ignore lint/suspicious/noArrayIndexKey: the text does not change under them.
                    <td key={column} className="px-2 py-1">
                      {line(cell)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      );
    case "rule":
      return <hr key={key} className="border-line" />;
    default:
      return <p key={key}>{line(part.text)}</p>;
  }
}

function line(text: string, linked = false): ReactNode {
  return inlines(text).map((part, index) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: the text does not change under them.
    <Fragment key={index}>{inline(part, linked)}</Fragment>
  ));
}

function inline(part: Inline, linked: boolean): ReactNode {
  switch (part.kind) {
    case "code":
      return <code className="rounded-[3px] bg-sunken px-1">{part.text}</code>;
    case "strong":
      return <strong>{line(part.text, linked)}</strong>;
    case "emphasis":
      return <em>{line(part.text, linked)}</em>;
    case "link":
      // A link within a link would be none.
      if (linked) return part.text;
      return (
        <a href={part.href} target="_blank" rel="noopener noreferrer nofollow" className="link">
          {line(part.text, true)}
        </a>
      );
    case "image":
      return <span className="text-muted">[picture{part.text ? `: ${part.text}` : ""}]</span>;
    default:
      return part.text;
  }
}
