import { X } from "lucide-react";
import { useState } from "react";

/** Tags as chips; Enter or a comma adds one, Backspace takes the last away. */
export function TagInput({
  id,
  tags,
  onChange,
  known = [],
}: {
  id: string;
  tags: string[];
  onChange: (tags: string[]) => void;
  /** Offered while one types. */
  known?: string[];
}) {
  const [text, setText] = useState("");
  const add = (words: string) => {
    const more = words
      .split(",")
      .map((word) => word.trim().slice(0, 50))
      .filter((word) => word && !tags.includes(word));
    if (more.length > 0) onChange([...tags, ...new Set(more)]);
    setText("");
  };
  return (
    <div className="field flex h-auto min-h-7 flex-wrap items-center gap-1 py-0.5 focus-within:outline-2 focus-within:outline-accent">
      {tags.map((tag) => (
        <span
          key={tag}
          className="inline-flex items-center gap-0.5 rounded-[4px] bg-accent-wash pl-1.5 text-xs"
        >
          {tag}
          <button
            type="button"
            aria-label={`Remove the tag ${tag}`}
            className="rounded-[3px] p-0.5 text-muted hover:text-ink"
            onClick={() => onChange(tags.filter((one) => one !== tag))}
          >
            <X size={11} />
          </button>
        </span>
      ))}
      <input
        id={id}
        className="min-w-16 flex-1 bg-transparent outline-none"
        value={text}
        list={`${id}-known`}
        maxLength={50}
        onChange={(event) =>
          event.target.value.includes(",") ? add(event.target.value) : setText(event.target.value)
        }
        onBlur={() => add(text)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && text.trim()) {
            event.preventDefault();
            add(text);
          } else if (event.key === "Backspace" && !text) onChange(tags.slice(0, -1));
        }}
      />
      <datalist id={`${id}-known`}>
        {known
          .filter((tag) => !tags.includes(tag))
          .map((tag) => (
            <option key={tag} value={tag} />
          ))}
      </datalist>
    </div>
  );
}
