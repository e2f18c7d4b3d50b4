import { format, tip } from "@/kit";

export interface Lengths {
  mean: number;
  deviation: number;
  minimum: number;
  maximum: number;
  percentiles: Record<string, number>;
  /** One more than `counts`; each bin without its upper edge. */
  edges: number[];
  counts: number[];
  /** Whether the bins widen with the length. */
  logarithmic: boolean;
}

const HEIGHT = 120;
const SHOWN = ["5", "50", "95"];
/** Percentiles that a narrow window has no room for. */
const narrow = (percentile: string) => (["1", "10", "90"].includes(percentile) ? "max-sm:hidden" : "");

/** How long the rows are: a histogram with percentiles drawn in, and their table under it. */
export function LengthHistogram({
  lengths,
  unit,
  label,
  what = "row",
}: {
  lengths: Lengths;
  unit: string;
  label: string;
  /** What has the lengths. */
  what?: string;
}) {
  const { edges, counts } = lengths;
  const bins = counts.length;
  const top = Math.max(1, ...counts);
  /** Where a length stands, in bins. */
  const place = (length: number): number => {
    const bin = Math.max(
      0,
      edges.findLastIndex((edge, at) => edge <= length && at < bins),
    );
    const low = edges[bin] ?? 0;
    const width = (edges[bin + 1] ?? low + 1) - low;
    return bin + (width > 1 ? (length - low) / width : 0.5);
  };
  const x = (bin: number) => (bin / Math.max(1, bins)) * 100;
  // The median's label comes first; the others only where they do not run into it.
  const middle = x(place(lengths.percentiles["50"] ?? 0));
  const labelled = SHOWN.filter(
    (one) => one === "50" || Math.abs(x(place(lengths.percentiles[one] ?? 0)) - middle) > 9,
  );
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * bins));
  return (
    <figure className="m-0 min-w-0">
      <figcaption className="mb-1 flex items-baseline gap-2">
        <span className="font-medium">{label}</span>
        <span className="text-xs text-muted">
          mean {format.figure(lengths.mean)}, standard deviation {format.figure(lengths.deviation)}
        </span>
      </figcaption>
      <div className="relative" style={{ height: HEIGHT }}>
        <svg
          viewBox={`0 0 100 ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`${label}: from ${format.figure(lengths.minimum)} to ${format.figure(lengths.maximum)}, median ${format.figure(lengths.percentiles["50"])} ${unit}`}
          className="block size-full"
        >
          {counts.map((count, bin) => {
            const tall = (count / top) * (HEIGHT - 14);
            const low = edges[bin] ?? 0;
            const high = (edges[bin + 1] ?? 1) - 1;
            const range = low === high ? format.exact(low) : `${format.exact(low)} to ${format.exact(high)}`;
            return (
              <g key={low} {...tip(`${range} ${unit}\n${format.plural(count, what)}`)}>
                <rect x={x(bin)} y={0} width={100 / bins} height={HEIGHT} fill="transparent" />
                <rect
                  x={x(bin + 0.06)}
                  y={HEIGHT - (count > 0 ? Math.max(1, tall) : 0)}
                  width={88 / bins}
                  height={count > 0 ? Math.max(1, tall) : 0}
                  className="fill-bar"
                />
              </g>
            );
          })}
          {SHOWN.map((percentile) => (
            <line
              key={percentile}
              x1={x(place(lengths.percentiles[percentile] ?? 0))}
              x2={x(place(lengths.percentiles[percentile] ?? 0))}
              y1={12}
              y2={HEIGHT}
              className="stroke-muted"
              strokeWidth={1}
              strokeDasharray={percentile === "50" ? undefined : "3 3"}
              vectorEffect="non-scaling-stroke"
            />
          ))}
          <line
            x1={0}
            x2={100}
            y1={HEIGHT - 0.5}
            y2={HEIGHT - 0.5}
            className="stroke-line-strong"
            vectorEffect="non-scaling-stroke"
          />
        </svg>
        {labelled.map((percentile) => (
          <span
            key={percentile}
            className="pointer-events-none absolute top-[-4px] -translate-x-1/2 text-2xs text-muted"
            style={{ left: `${x(place(lengths.percentiles[percentile] ?? 0))}%` }}
          >
            {percentile === "50" ? "median" : `${percentile}%`}
          </span>
        ))}
      </div>
      <div className="relative mt-0.5 h-4 text-2xs text-muted">
        {ticks.map((bin, at) => (
          <span
            key={bin}
            className={`absolute whitespace-nowrap ${at === 0 ? "" : at === ticks.length - 1 ? "-translate-x-full" : "-translate-x-1/2"}`}
            style={{ left: `${x(bin)}%` }}
          >
            {format.figure(bin === bins ? lengths.maximum : edges[bin])}
          </span>
        ))}
      </div>
      <div className="text-2xs text-muted">
        {unit} in a {what}
        {lengths.logarithmic && ", logarithmic"}
      </div>
      <table className="mt-2 w-full table-fixed text-right text-xs">
        <thead>
          <tr className="text-2xs text-muted">
            <th className="text-left font-normal">least</th>
            {Object.keys(lengths.percentiles).map((percentile) => (
              <th key={percentile} className={`font-normal ${narrow(percentile)}`}>
                {percentile}%
              </th>
            ))}
            <th className="font-normal">most</th>
          </tr>
        </thead>
        <tbody>
          <tr>
            <td className="text-left">{format.figure(lengths.minimum)}</td>
            {Object.entries(lengths.percentiles).map(([percentile, length]) => (
              <td
                key={percentile}
                className={narrow(percentile)}
                {...tip(`${percentile}% of the ${what}s have ${format.exact(length)} ${unit} or fewer`)}
              >
                {format.figure(length)}
              </td>
            ))}
            <td {...tip(format.exact(lengths.maximum))}>{format.figure(lengths.maximum)}</td>
          </tr>
        </tbody>
      </table>
    </figure>
  );
}
