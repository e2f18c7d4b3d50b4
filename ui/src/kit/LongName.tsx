/** A name whose last part, after " · ", tells it from its neighbours: where there is little room the rest gives way. */
export function LongName({ name }: { name: string }) {
  const at = name.lastIndexOf(" · ");
  if (at < 0) return <span className="min-w-0 truncate">{name}</span>;
  return (
    <span className="flex min-w-0">
      <span className="min-w-0 truncate font-normal text-muted">{name.slice(0, at)}</span>
      <span className="max-w-[82%] shrink-0 truncate whitespace-pre"> · {name.slice(at + 3)}</span>
    </span>
  );
}
