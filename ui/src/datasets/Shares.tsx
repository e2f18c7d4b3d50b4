import { format, tip } from "@/kit";

/** Kinds and their shares as bars, largest first; what is beyond `most` is summed up. */
export function Shares({
  shares,
  unit,
  most = 10,
  name = (one) => one,
}: {
  shares: { name: string; count: number; share: number }[];
  unit: string;
  most?: number;
  name?: (name: string) => string;
}) {
  const shown = shares.slice(0, most);
  const rest = shares.slice(most);
  const top = Math.max(1e-9, ...shares.map((one) => one.share));
  const lines = [
    ...shown,
    ...(rest.length > 0
      ? [
          {
            name: `${rest.length} others`,
            count: rest.reduce((sum, one) => sum + one.count, 0),
            share: rest.reduce((sum, one) => sum + one.share, 0),
          },
        ]
      : []),
  ];
  if (lines.length === 0) return <p className="text-muted">None</p>;
  return (
    <div className="grid grid-cols-[minmax(80px,max-content)_minmax(60px,1fr)_max-content] items-center gap-x-3 gap-y-0.5">
      {lines.map((one) => (
        <div key={one.name} className="contents">
          <span className="truncate">{name(one.name)}</span>
          <span className="h-2 rounded-[2px] bg-sunken">
            <span
              className="block h-full rounded-[2px] bg-bar"
              style={{ width: `${Math.min(1, one.share / top) * 100}%` }}
            />
          </span>
          <span className="text-right text-xs" {...tip(`${format.exact(one.count)} ${unit}`)}>
            {one.share > 0 && one.share < 1e-4 ? "< 0.01%" : format.percent(one.share)}
          </span>
        </div>
      ))}
    </div>
  );
}
