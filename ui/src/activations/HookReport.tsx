import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import {
  ActivationHistogram,
  Code,
  ErrorNote,
  format,
  Metric,
  type MetricInfo,
  Section,
  SkeletonLines,
  tip,
} from "@/kit";
import { Curve } from "@/kit/Curve";
import type { Cache } from "./columns";
import { DimensionProfile } from "./DimensionProfile";
import type { Infos } from "./Statistics";

type Report = components["schemas"]["HookReport"];

const GROUPS: [title: string, names: [name: keyof Report["figures"], share?: boolean][]][] = [
  [
    "Size",
    [["mean"], ["std"], ["rms"], ["peak"], ["mean_norm"], ["std_norm"], ["max_norm"], ["error", true]],
  ],
  [
    "Shape",
    [
      ["token_kurtosis"],
      ["dimension_kurtosis"],
      ["rms_kurtosis"],
      ["mean_share", true],
      ["hoyer"],
      ["zeros", true],
    ],
  ],
  [
    "What stands out",
    [["loud_dimensions"], ["far_dimensions"], ["massive_values"], ["massive_tokens"], ["massive_dimensions"]],
  ],
];

const NAMELESS: MetricInfo = { title: "", unit: "", formula: "", description: "" };

/** Everything about the activations at one hook point. */
export function HookReport({ cache, hook, infos }: { cache: Cache; hook: string; infos: Infos }) {
  const report = useQuery({
    queryKey: ["activation_caches", cache.id, "statistics", hook],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/activations/{cache_id}/statistics", {
          params: { path: { cache_id: cache.id }, query: { hook } },
          signal,
        }),
      ),
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (report.error) return <ErrorNote error={report.error} onRetry={() => void report.refetch()} />;
  const data = report.data;
  if (!data) return <SkeletonLines lines={8} />;
  const outliers = new Map(data.outliers.map((one) => [one.dimension, one]));
  const words = (dimension: number) => {
    const one = outliers.get(dimension);
    if (!one) return `dimension ${dimension}`;
    const rules = [one.loud && "by magnitude", one.far && "by 3σ"].filter(Boolean).join(" and ");
    return `Dimension ${dimension}: outlier ${rules}\nmean ${format.figure(one.mean)}, std ${format.figure(one.std)}, largest ${format.figure(one.peak)}\n${format.percent(one.share)} of tokens have |x| ≥ 6; ${format.figure(one.sigmas)}σ away`;
  };
  // Where many are loud, only those that are far are worth a mark.
  const far = data.outliers.filter((one) => one.far);
  const marked = (data.outliers.length > 12 ? far : data.outliers).map((one) => one.dimension);
  return (
    <section aria-label={`Statistics of ${hook}`} className="flex min-w-0 flex-col gap-6">
      <h2 className="flex flex-wrap items-center gap-2 border-t border-line pt-5 font-semibold">
        <Code>{hook}</Code>
        <span className="font-normal text-muted">
          {format.figure(data.n)} tokens × {format.figure(data.d)} dimensions
        </span>
      </h2>
      <div className="grid gap-x-8 gap-y-5 lg:grid-cols-2">
        {GROUPS.map(([title, names]) => (
          <Section key={title} title={title}>
            <div className="grid grid-cols-2 gap-3 sm:grid-cols-4">
              {names.map(([name, share]) => (
                <Metric
                  key={name}
                  info={infos[name] ?? NAMELESS}
                  value={data.figures[name] as number | null}
                  share={share}
                />
              ))}
            </div>
          </Section>
        ))}
        <Section title="Norm percentiles">
          <div className="grid grid-cols-4 gap-3 sm:grid-cols-7">
            {Object.entries(data.figures.norm_percentiles ?? {}).map(([percent, value]) => (
              <Metric
                key={percent}
                info={{ ...(infos.norm_percentiles ?? NAMELESS), title: `${percent} %` }}
                value={value}
              />
            ))}
          </div>
        </Section>
      </div>
      <div className="grid gap-x-8 gap-y-6 lg:grid-cols-2">
        <Plot
          title="Norms of tokens"
          info={infos.mean_norm}
          formula="count of tokens by ‖x‖₂, bins of 2^(1/16)"
        >
          <ActivationHistogram edges={data.norm_edges} counts={data.norm_counts} label="Norms" />
        </Plot>
        <Curve
          title="Norm by position in the sequence"
          hint="Mean norm of the tokens at these positions (0, 1, 2–3, 4–7, …): the first ones are often attention sinks."
          formula="⟨‖x‖₂⟩ over tokens at a position"
          xLabel="position (from)"
          series={[{ id: "norm", label: "mean norm", x: data.position_starts, y: data.position_norms }]}
          height={110}
        />
        <Plot title="Mean of each dimension" formula="⟨xⱼ⟩" info={infos.far_dimensions}>
          <DimensionProfile label="Means" values={data.mean} marked={marked} words={words} />
        </Plot>
        <Plot title="Standard deviation of each dimension" formula="√⟨(xⱼ−⟨xⱼ⟩)²⟩" info={infos.std}>
          <DimensionProfile label="Standard deviations" values={data.std} marked={marked} words={words} />
        </Plot>
        <Plot title="Largest magnitude of each dimension" formula="max |xⱼ|" info={infos.peak}>
          <DimensionProfile label="Largest magnitudes" values={data.peak} marked={marked} words={words} />
        </Plot>
        <Plot
          title="Kurtosis of each dimension"
          formula="⟨(xⱼ−⟨xⱼ⟩)⁴⟩ / ⟨(xⱼ−⟨xⱼ⟩)²⟩²"
          info={infos.dimension_kurtosis}
        >
          <DimensionProfile label="Kurtosis" values={data.kurtosis} marked={marked} words={words} />
        </Plot>
      </div>
      <div className="grid gap-x-8 gap-y-6 lg:grid-cols-2">
        <Outliers report={data} infos={infos} />
        <Largest report={data} infos={infos} />
      </div>
    </section>
  );
}

function Plot({
  title,
  info,
  formula,
  children,
}: {
  title: string;
  info: MetricInfo | undefined;
  formula: string;
  children: ReactNode;
}) {
  return (
    <div className="min-w-0">
      <div className="mb-1 w-max max-w-full text-xs" {...tip(info?.description ?? title, formula)}>
        {title}
      </div>
      {children}
    </div>
  );
}

const TABLE = "w-full text-right text-xs whitespace-nowrap";
const HEAD = "h-7 border-b border-line text-muted [&>th]:px-2 [&>th]:font-normal";
const ROW = "h-6 border-b border-line/60 [&>td]:px-2";

function Outliers({ report, infos }: { report: Report; infos: Infos }) {
  return (
    <Section title="Outlier dimensions">
      {report.outliers.length === 0 ? (
        <p className="text-muted">None, by either rule.</p>
      ) : (
        <table className={TABLE}>
          <thead>
            <tr className={HEAD}>
              <th className="text-left">Dimension</th>
              <th>Mean</th>
              <th>Std</th>
              <th>Largest</th>
              <th {...tip(infos.share?.title, infos.share?.formula)}>|x| ≥ 6</th>
              <th {...tip(infos.sigmas?.description, infos.sigmas?.formula)}>σ away</th>
              <th className="text-left" {...tip(infos.loud_dimensions?.description)}>
                Rule
              </th>
            </tr>
          </thead>
          <tbody>
            {report.outliers.map((one) => (
              <tr key={one.dimension} className={ROW}>
                <td className="text-left">{one.dimension}</td>
                <td>{format.figure(one.mean)}</td>
                <td>{format.figure(one.std)}</td>
                <td>{format.figure(one.peak)}</td>
                <td>{format.percent(one.share)}</td>
                <td>{format.figure(one.sigmas)}</td>
                <td className="text-left">
                  {[one.loud && "magnitude", one.far && "3σ"].filter(Boolean).join(", ")}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Section>
  );
}

function Largest({ report, infos }: { report: Report; infos: Infos }) {
  return (
    <Section title="Largest values">
      <table className={TABLE}>
        <thead>
          <tr className={HEAD}>
            <th>Value</th>
            <th>Dimension</th>
            <th {...tip("How many times the median magnitude of the same token's values")}>× median</th>
            <th {...tip(infos.massive_values?.description, infos.massive_values?.formula)}>Massive</th>
            <th>Position</th>
            <th className="w-full text-left">Token in its text</th>
          </tr>
        </thead>
        <tbody>
          {report.largest.map((one) => (
            <tr key={`${one.sequence}-${one.position}`} className={ROW}>
              <td>{format.figure(one.value)}</td>
              <td>{one.dimension}</td>
              <td>{one.median > 0 ? format.figure(Math.abs(one.value) / one.median) : "–"}</td>
              <td>{one.massive ? "yes" : "no"}</td>
              <td {...tip(`Sequence ${format.exact(one.sequence)}`)}>{one.position}</td>
              <td className="max-w-0 text-left">
                <code className="block truncate whitespace-pre">
                  <span className="text-muted">{visible(one.before).slice(-14)}</span>
                  <mark className="rounded-[2px] bg-accent-wash px-0.5 text-ink">
                    {visible(one.text) || "∅"}
                  </mark>
                </code>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Section>
  );
}

/** With line ends and lone spaces to be seen. */
function visible(text: string): string {
  return (text.trim() === "" ? text.replaceAll(" ", "␣") : text).replaceAll("\n", "↵").replaceAll("\t", "⇥");
}
