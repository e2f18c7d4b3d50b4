/** One of a few views of the same thing, side by side. */
export function ViewChoice({
  label,
  views,
  value,
  onChange,
}: {
  label: string;
  views: [id: string, words: string][];
  value: string;
  onChange: (id: string) => void;
}) {
  return (
    <fieldset className="flex overflow-hidden rounded-[5px] border border-line-strong">
      <legend className="sr-only">{label}</legend>
      {views.map(([id, words]) => (
        <button
          key={id}
          type="button"
          aria-pressed={id === value}
          onClick={() => onChange(id)}
          className={`h-[26px] border-l border-line px-2.5 first:border-l-0 ${
            id === value
              ? "bg-accent-wash font-medium text-ink"
              : "bg-surface text-muted hover:bg-hover hover:text-ink"
          }`}
        >
          {words}
        </button>
      ))}
    </fieldset>
  );
}
