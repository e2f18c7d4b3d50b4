import { format, tip } from "@/kit";

const WIDTH = 1000;

/** One number of every dimension, in their own order; what stands out is marked and named. */
export function DimensionProfile({
  label,
  values,
  marked,
  words,
  height = 96,
}: {
  label: string;
  values: (number | null)[];
  /** Dimensions to mark. */
  marked: number[];
  /** What a marked dimension says of itself. */
  words: (dimension: number) => string;
  height?: number;
}) {
  const known = values.filter((value): value is number => value !== null);
  const high = Math.max(0, ...known);
  const low = Math.min(0, ...known);
  const span = high - low || 1;
  const y = (value: number) => 4 + ((high - value) / span) * (height - 8);
  const x = (dimension: number) => ((dimension + 0.5) / Math.max(1, values.length)) * WIDTH;
  const spikes = values.map((value, dimension) =>
    value === null ? "" : `M${x(dimension).toFixed(1)} ${y(0).toFixed(1)}V${y(value).toFixed(1)}`,
  );
  return (
    <figure className="m-0">
      <div className="relative" style={{ height }}>
        <svg
          viewBox={`0 0 ${WIDTH} ${height}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`${label}: ${values.length} dimensions from ${format.figure(low)} to ${format.figure(high)}`}
          className="block size-full"
        >
          <path
            d={spikes.join("")}
            className="stroke-bar"
            strokeWidth={1}
            vectorEffect="non-scaling-stroke"
          />
          <line
            x1={0}
            x2={WIDTH}
            y1={y(0)}
            y2={y(0)}
            className="stroke-line-strong"
            vectorEffect="non-scaling-stroke"
          />
        </svg>
        {marked.map((dimension) => {
          const value = values[dimension];
          return (
            value !== null &&
            value !== undefined && (
              <span
                key={dimension}
                className="absolute size-2 -translate-x-1/2 -translate-y-1/2 rounded-full border border-canvas bg-warning"
                style={{ left: `${(x(dimension) / WIDTH) * 100}%`, top: y(value) }}
                {...tip(words(dimension))}
              />
            )
          );
        })}
      </div>
      <figcaption className="mt-0.5 flex justify-between text-2xs text-muted">
        <span>dimension 0</span>
        <span>
          {format.figure(low)} to {format.figure(high)}
        </span>
        <span>{values.length - 1}</span>
      </figcaption>
    </figure>
  );
}
