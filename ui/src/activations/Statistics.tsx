import { useQuery } from "@tanstack/react-query";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { format, type MetricInfo, Section, tip, useUrlState } from "@/kit";
import type { Cache } from "./columns";
import { HookReport } from "./HookReport";
import { LayerCurves } from "./LayerCurves";

type Statistics = components["schemas"]["CacheStatistics"];
type Figures = components["schemas"]["HookStatistics"];
export type Infos = Record<string, MetricInfo | undefined>;

/** The figures of the table, in the order in which one asks. */
const FIGURES: [name: keyof Figures, header: string, show?: (value: number) => string][] = [
  ["mean", "Mean"],
  ["std", "Std"],
  ["mean_norm", "Mean norm"],
  ["max_norm", "Max norm"],
  ["mean_share", "Mean share", format.percent],
  ["token_kurtosis", "Kurtosis"],
  ["rms_kurtosis", "RMS kurt."],
  ["loud_dimensions", "Outliers"],
  ["far_dimensions", "3σ dims"],
  ["massive_values", "Massive"],
  ["hoyer", "Hoyer"],
  ["zeros", "Zeros", format.percent],
  ["error", "Error", format.percent],
];

/** What each figure about activations means, from the server. */
export function useInfos(): Infos {
  const { data } = useQuery({
    queryKey: ["activation metrics"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/activations/metrics", { signal })),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return data ?? {};
}

/** The figures of every hook point, through the layers, and everything about the one that is chosen. */
export function Statistics({ cache, statistics }: { cache: Cache; statistics: Statistics }) {
  const infos = useInfos();
  const [wanted, choose] = useUrlState("hook", "");
  const hooks = cache.hooks.filter((hook) => statistics.hooks[hook]);
  const chosen = hooks.includes(wanted) ? wanted : hooks[0];
  return (
    <div className="flex min-w-0 flex-col gap-6 p-5">
      <LayerCurves hooks={statistics.hooks} infos={infos} />
      <Section title="At each hook point">
        <div className="max-h-80 overflow-auto">
          <table className="w-full text-right text-xs whitespace-nowrap">
            <thead className="sticky top-0 bg-canvas text-muted">
              <tr className="h-7 border-b border-line [&>th]:px-1.5 [&>th]:font-normal">
                <th className="text-left">Hook point</th>
                {FIGURES.map(([name, header]) => (
                  <th
                    key={name}
                    {...tip([infos[name]?.title, infos[name]?.description].join("\n"), infos[name]?.formula)}
                  >
                    {header}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {hooks.map((hook) => (
                <tr
                  key={hook}
                  className={`h-(--row) border-b border-line/60 [&>td]:px-1.5 ${hook === chosen ? "bg-accent-wash" : "hover:bg-hover"}`}
                >
                  <td className="text-left">
                    <button
                      type="button"
                      className="rounded-[3px] hover:underline"
                      aria-pressed={hook === chosen}
                      onClick={() => choose(hook)}
                    >
                      <code>{hook}</code>
                    </button>
                  </td>
                  {FIGURES.map(([name, , show]) => {
                    const value = statistics.hooks[hook]?.[name] as number | null | undefined;
                    return (
                      <td key={name} {...tip(value === null ? null : format.exact(value))}>
                        {value === null || value === undefined ? "–" : (show ?? format.figure)(value)}
                      </td>
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Section>
      {statistics.outliers && statistics.outliers.length > 0 && (
        <ModelOutliers found={statistics.outliers} infos={infos} />
      )}
      {chosen && <HookReport key={chosen} cache={cache} hook={chosen} infos={infos} />}
    </div>
  );
}

/** Dimensions that are loud through the layers, for each kind of hook point. */
function ModelOutliers({ found, infos }: { found: NonNullable<Statistics["outliers"]>; infos: Infos }) {
  const places = [...new Set(found.map((one) => one.place))];
  return (
    <Section title="Outlier dimensions of the model">
      <p className="mb-2 text-muted">
        <span {...tip(infos.loud_dimensions?.description, infos.loud_dimensions?.formula)}>
          By magnitude, in a quarter of the layers or more; at most 32 of a kind.
        </span>
      </p>
      {places.map((place) => (
        <div key={place} className="flex gap-3">
          <code className="shrink-0 text-muted">{place.replace(/^hook_/, "")}</code>
          <div className="flex min-w-0 flex-wrap gap-x-2">
            {found
              .filter((one) => one.place === place)
              .map((one) => (
                <span
                  key={one.dimension}
                  {...tip(`Dimension ${one.dimension}: in ${one.hooks} of ${one.of} layers`)}
                >
                  {one.dimension}
                </span>
              ))}
          </div>
        </div>
      ))}
    </Section>
  );
}
