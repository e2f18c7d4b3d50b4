import type { components } from "@/api/schema";
import { Section } from "@/kit";
import { Curve, type Series } from "@/kit/Curve";
import type { Infos } from "./Statistics";

type Figures = components["schemas"]["HookStatistics"];

const SHOWN: (keyof Figures)[] = ["mean_norm", "std", "token_kurtosis", "mean_share"];
const IN_BLOCK = /^blocks\.(\d+)\.(.+)$/;

/** How the figures change through the layers: one curve for each kind of hook point that has three layers or more. */
export function LayerCurves({ hooks, infos }: { hooks: Record<string, Figures>; infos: Infos }) {
  const places = new Map<string, [layer: number, figures: Figures][]>();
  for (const [hook, figures] of Object.entries(hooks)) {
    const match = IN_BLOCK.exec(hook);
    if (!match) continue;
    const place = match[2] as string;
    places.set(place, [...(places.get(place) ?? []), [Number(match[1]), figures]]);
  }
  const lines = [...places].filter(([, found]) => found.length >= 3);
  if (lines.length === 0) return null;
  for (const [, found] of lines) found.sort(([one], [other]) => one - other);
  const series = (name: keyof Figures): Series[] =>
    lines.map(([place, found]) => ({
      id: place,
      label: place.replace(/^hook_/, ""),
      x: found.map(([layer]) => layer),
      y: found.map(([, figures]) => (figures[name] as number | null | undefined) ?? null),
    }));
  return (
    <Section
      title={`Through the layers${lines.length === 1 ? `: ${lines[0]?.[0].replace(/^hook_/, "")}` : ""}`}
    >
      <div className="grid grid-cols-1 gap-x-6 gap-y-4 md:grid-cols-2 2xl:grid-cols-4">
        {SHOWN.map((name) => (
          <Curve
            key={name}
            title={infos[name]?.title ?? name}
            hint={infos[name]?.description}
            formula={infos[name]?.formula}
            series={series(name)}
            xLabel="layer"
            whole
            sync="layers"
            height={150}
          />
        ))}
      </div>
    </Section>
  );
}
