import { figure, plural } from "./format";
import { tip } from "./Tip";

/** How often which activation occurs. Bars are logarithmic in height by default: the tail is what one looks for. */
export function ActivationHistogram({
  edges,
  counts,
  label = "Activations",
  unit = "token",
  log = true,
  height = 88,
}: {
  /** One more than `counts`. */
  edges: number[];
  counts: number[];
  label?: string;
  unit?: string;
  log?: boolean;
  height?: number;
}) {
  const scale = (count: number) => (count <= 0 ? 0 : log ? Math.log10(count + 1) : count);
  const top = Math.max(1e-9, ...counts.map(scale));
  const total = counts.reduce((sum, count) => sum + count, 0);
  const step = 100 / Math.max(1, counts.length);
  const low = edges[0] ?? 0;
  const high = edges.at(-1) ?? 0;
  return (
    <figure className="m-0">
      <svg
        viewBox={`0 0 100 ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${label}: ${plural(total, unit)} from ${figure(low)} to ${figure(high)}`}
        className="block w-full"
        style={{ height }}
      >
        {counts.map((count, index) => {
          const tall = (scale(count) / top) * (height - 1);
          const words = `${figure(edges[index])} to ${figure(edges[index + 1])}\n${plural(count, unit)}`;
          return (
            <g key={edges[index]} {...tip(words)}>
              {/* The whole column answers the pointer, however low the bar. */}
              <rect x={index * step} y={0} width={step} height={height} fill="transparent" />
              <rect
                x={index * step + step * 0.08}
                y={height - tall}
                width={step * 0.84}
                height={tall}
                className="fill-bar"
              />
            </g>
          );
        })}
        <line
          x1={0}
          x2={100}
          y1={height - 0.5}
          y2={height - 0.5}
          className="stroke-line-strong"
          strokeWidth={1}
          vectorEffect="non-scaling-stroke"
        />
      </svg>
      <figcaption className="mt-0.5 flex justify-between text-2xs text-muted">
        <span>{figure(low)}</span>
        {log && <span>height: log count</span>}
        <span>{figure(high)}</span>
      </figcaption>
    </figure>
  );
}
