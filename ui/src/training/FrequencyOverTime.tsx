import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { ErrorNote, format, Skeleton, tip } from "@/kit";
import { HeatMap } from "./HeatMap";
import { axisTicks, powerWords } from "./histogramAxis";

type Histograms = components["schemas"]["Histograms"];
type Series = components["schemas"]["HistogramSeries"];

const HEIGHT = 152;

/** How the latents' frequencies, norms and biases moved over the training: heat maps with the frame chosen beside. */
export function FrequencyOverTime({
  id,
  active,
  unitNorms,
}: {
  id: string;
  active: boolean;
  /** Decoder directions are kept at length 1. */
  unitNorms: boolean;
}) {
  const { data, error, refetch } = useQuery<Histograms>({
    queryKey: ["trainings", id, "histograms"],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/trainings/{training_id}/histograms", {
          params: { path: { training_id: id } },
          signal,
        }),
      ),
    refetchInterval: active ? 5000 : false,
  });
  const [chosen, choose] = useState<number | null>(null);
  if (error) return <ErrorNote error={error} onRetry={() => void refetch()} />;
  if (!data)
    return (
      <div role="status" aria-label="Loading" className="grid gap-6 lg:grid-cols-2">
        <Skeleton className="h-44 w-full" />
        <Skeleton className="h-44 w-full" />
      </div>
    );
  if (data.steps.length === 0)
    return (
      <p className="py-6 text-muted">
        {active ? "The first histograms come with the first steps." : "It recorded no histograms."}
      </p>
    );
  const last = data.steps.length - 1;
  // The newest, until one is chosen; and again when the newest is chosen.
  const frame = chosen === null ? last : Math.min(chosen, last);
  return (
    <div
      className={`grid gap-x-8 gap-y-4 lg:grid-cols-2 ${data.histograms.length > 3 ? "2xl:grid-cols-4" : "2xl:grid-cols-3"}`}
    >
      {data.histograms.map((series) => (
        <OverTime
          key={series.name}
          series={series}
          data={data}
          frame={frame}
          onFrame={(next) => choose(next >= last ? null : next)}
        />
      ))}
      {unitNorms && (
        <p className="col-span-full text-xs text-muted">
          Decoder norms are kept at 1 in this run (Decoder norms: unit), so there is nothing to see of them.
        </p>
      )}
    </div>
  );
}

/** How many latents the axis has no place for, and why. */
function noneWords(series: Series, none: number, window: number): string {
  const latents = format.plural(none, "latent");
  if (series.name !== "frequency") return `${latents}: ${series.none_words}`;
  return `${latents} not active once in ${format.plural(window, "token")}`;
}

function OverTime({
  series,
  data,
  frame,
  onFrame,
}: {
  series: Series;
  data: Histograms;
  frame: number;
  onFrame: (frame: number) => void;
}) {
  const [at, setAt] = useState<{ bin: number; frame: number } | null>(null);
  const counts = series.counts[frame] ?? [];
  const none = series.none[frame] ?? 0;
  const latents = counts.reduce((sum, count) => sum + count, none);
  const step = data.steps[frame] ?? 0;
  const range = (bin: number) =>
    `${powerWords(series.edges[bin] ?? 0)} to ${powerWords(series.edges[bin + 1] ?? 0)}`;
  const apart = series.none_words && none > 0 ? noneWords(series, none, data.window_tokens[frame] ?? 0) : "";
  const pointed =
    at &&
    `Step ${format.figure(data.steps[at.frame])}: ${format.plural(series.counts[at.frame]?.[at.bin] ?? 0, "latent")} at ${range(at.bin)}`;
  const top = Math.max(1, ...counts);
  const ticks = axisTicks(series.edges, series.scale);
  return (
    <section aria-label={series.title} className="min-w-0">
      <div className="mb-1 flex items-baseline gap-2">
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: the definition must be reachable by keyboard. */}
        <h3 tabIndex={0} className="font-medium" {...tip(series.description, series.formula)}>
          {series.title}
        </h3>
        {series.unit && <span className="text-xs text-muted">{series.unit}</span>}
        <span className="flex-1" />
        <span className="truncate text-xs text-muted">
          {pointed ?? `After step ${format.figure(step)}, ${format.figure(data.tokens[frame])} tokens`}
        </span>
      </div>
      <div className="flex gap-2">
        <div className="relative w-11 shrink-0 text-right text-2xs text-muted" style={{ height: HEIGHT }}>
          {ticks.map((tick) => (
            <span
              key={tick.words}
              className="absolute right-0 translate-y-1/2 whitespace-nowrap"
              style={{ bottom: `${tick.at * 100}%` }}
            >
              {tick.words}
            </span>
          ))}
        </div>
        <HeatMap
          counts={series.counts}
          label={`${series.title} over the steps`}
          selected={frame}
          onSelect={onFrame}
          valueText={`step ${step}: ${format.plural(latents - none, "latent")} on the axis${apart && `, ${apart}`}`}
          bin={at?.bin ?? null}
          onBin={(bin, of) => setAt(bin === null ? null : { bin, frame: of ?? frame })}
          height={HEIGHT}
        />
        <svg
          role="img"
          aria-label={`${series.title} after step ${step}`}
          viewBox={`0 0 100 ${counts.length}`}
          preserveAspectRatio="none"
          className="w-20 shrink-0 border-l border-line"
          style={{ height: HEIGHT }}
          onPointerLeave={() => setAt(null)}
        >
          {counts.map((count, bin) => (
            <g key={series.edges[bin]} onPointerEnter={() => setAt({ bin, frame })}>
              <rect x={0} y={counts.length - 1 - bin} width={100} height={1} fill="transparent" />
              <rect
                x={0}
                y={counts.length - 1 - bin + 0.06}
                width={(count / top) * 98}
                height={0.88}
                className={at?.bin === bin ? "fill-accent" : "fill-bar"}
              />
            </g>
          ))}
        </svg>
      </div>
      <div className="mt-1 flex gap-2 pl-[52px] text-2xs text-muted">
        <span>{format.figure(data.steps[0])}</span>
        <span className="flex-1 text-center">step</span>
        <span>{format.figure(data.steps.at(-1))}</span>
        <span className="w-20 shrink-0 text-right">up to {format.figure(top)}</span>
      </div>
      <p className="min-h-4 pl-[52px] text-xs text-muted">
        {apart && `${apart} (${format.percent(none / latents)})`}
      </p>
    </section>
  );
}
