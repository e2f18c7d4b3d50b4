import { seriesColour } from "./chart/colours";
import { front, scale } from "./chart/scale";
import { figure } from "./format";
import { tip } from "./Tip";
import { useWidth } from "./useWidth";

export interface ParetoPoint {
  id: string;
  label: string;
  x: number;
  y: number;
  /** Points of a group share colour and mark. */
  group: string;
  /** What the tooltip says besides. */
  detail?: string;
}

const LEFT = 58;
const RIGHT = 20;
const TOP = 14;
const BOTTOM = 44;

/** Marks that differ by shape as well as by colour. */
const MARKS = [
  "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0",
  "M-4.5-4.5h9v9h-9z",
  "M0-6l5.5 10h-11z",
  "M0-6.5l6 6.5-6 6.5-6-6.5z",
  "M0 6l5.5-10h-11z",
  "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
];

/**
 * Two measures against each other, with the front of those that none beats in both. Each point is a link: hover or
 * focus says what it is, click or Enter opens it.
 */
export function Pareto({
  points,
  xTitle,
  yTitle,
  better,
  logX = true,
  height = 340,
  onOpen,
  lit,
  onLight,
}: {
  points: ParetoPoint[];
  xTitle: string;
  yTitle: string;
  /** Which way y is good; x is good when it is small. */
  better: "lower" | "higher";
  logX?: boolean;
  height?: number;
  onOpen: (id: string) => void;
  /** The point that is shown larger. */
  lit?: string | null;
  onLight?: (id: string | null) => void;
}) {
  const [ref, width] = useWidth<HTMLDivElement>();
  const groups = [...new Set(points.map((point) => point.group))];
  const x = scale(
    points.map((point) => point.x),
    [LEFT, width - RIGHT],
    logX,
  );
  const y = scale(
    points.map((point) => point.y),
    [height - BOTTOM, TOP],
  );
  const best = front(points, better);
  const onFront = new Set(best.map((point) => point.id));
  return (
    <figure ref={ref} className="min-w-0" aria-label={`${yTitle} against ${xTitle}`}>
      {width > 0 && (
        <svg
          width={width}
          height={height}
          className="block text-2xs"
          aria-label={`${yTitle} against ${xTitle}`}
        >
          <g className="stroke-line">
            {x.ticks.map((tick) => (
              <line key={tick} x1={x(tick)} x2={x(tick)} y1={TOP} y2={height - BOTTOM} strokeOpacity={0.6} />
            ))}
            {y.ticks.map((tick) => (
              <line key={tick} x1={LEFT} x2={width - RIGHT} y1={y(tick)} y2={y(tick)} strokeOpacity={0.6} />
            ))}
            <path
              d={`M${LEFT} ${TOP}V${height - BOTTOM}H${width - RIGHT}`}
              fill="none"
              className="stroke-line-strong"
            />
          </g>
          <g className="fill-muted" fontSize={11}>
            {x.ticks.map((tick) => (
              <text key={tick} x={x(tick)} y={height - BOTTOM + 15} textAnchor="middle">
                {figure(tick)}
              </text>
            ))}
            {y.ticks.map((tick) => (
              <text key={tick} x={LEFT - 7} y={y(tick) + 4} textAnchor="end">
                {figure(tick)}
              </text>
            ))}
            <text x={(LEFT + width - RIGHT) / 2} y={height - 8} textAnchor="middle">
              {xTitle}
            </text>
            <text transform={`translate(13 ${(TOP + height - BOTTOM) / 2}) rotate(-90)`} textAnchor="middle">
              {yTitle}
            </text>
          </g>
          <polyline
            points={best.map((point) => `${x(point.x)},${y(point.y)}`).join(" ")}
            fill="none"
            className="stroke-line-strong"
            strokeWidth={1.5}
            strokeDasharray="5 4"
          />
          {points.map((point) => {
            const place = groups.indexOf(point.group);
            return (
              // biome-ignore lint/a11y/useSemanticElements: an anchor inside of SVG would leave the app's router.
              <g
                key={point.id}
                role="link"
                tabIndex={0}
                aria-label={`${point.label}: ${xTitle} ${figure(point.x)}, ${yTitle} ${figure(point.y)}${onFront.has(point.id) ? ", on the front" : ""}`}
                transform={`translate(${x(point.x)} ${y(point.y)}) scale(${lit === point.id ? 1.5 : 1})`}
                className="cursor-pointer stroke-canvas outline-none focus-visible:stroke-ink"
                style={{
                  fill: seriesColour(place),
                  opacity: onFront.has(point.id) || lit === point.id ? 1 : 0.55,
                }}
                onClick={() => onOpen(point.id)}
                onKeyDown={(event) => {
                  if (event.key === "Enter") onOpen(point.id);
                }}
                onPointerEnter={() => onLight?.(point.id)}
                onPointerLeave={() => onLight?.(null)}
                onFocus={() => onLight?.(point.id)}
                onBlur={() => onLight?.(null)}
                {...tip(
                  [
                    point.label,
                    `${xTitle} ${figure(point.x, 4)}, ${yTitle} ${figure(point.y, 4)}`,
                    onFront.has(point.id) ? "On the front: none is better in both." : "",
                    point.detail,
                  ]
                    .filter(Boolean)
                    .join("\n"),
                )}
              >
                <path d={MARKS[place % MARKS.length]} strokeWidth={1.25} />
              </g>
            );
          })}
        </svg>
      )}
      {groups.length > 1 && (
        <figcaption className="flex flex-wrap gap-x-4 gap-y-1 pl-14 text-xs text-muted">
          {groups.map((group, place) => (
            <span key={group} className="flex items-center gap-1.5">
              <svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">
                <path d={MARKS[place % MARKS.length]} style={{ fill: seriesColour(place) }} />
              </svg>
              {group}
            </span>
          ))}
        </figcaption>
      )}
    </figure>
  );
}
