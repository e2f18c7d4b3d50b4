import { ActivationHistogram, format, Metric, type MetricInfo, tip } from "@/kit";
import type { Feature } from "./query";

const FIGURES: { info: MetricInfo; of: (feature: Feature) => number; share?: boolean }[] = [
  {
    info: {
      title: "Frequency",
      unit: "",
      formula: "count(zᵢ > 0) / N",
      description: "Share of the tokens that were read on which it is active.",
    },
    of: (feature) => feature.row.frequency,
    share: true,
  },
  {
    info: {
      title: "Maximum",
      unit: "",
      formula: "max zᵢ",
      description: "The largest activation on any token that was read. Steering counts in units of it.",
    },
    of: (feature) => feature.row.max_activation,
  },
  {
    info: {
      title: "Mean",
      unit: "",
      formula: "Σ zᵢ / count(zᵢ > 0)",
      description: "Mean activation where it is active.",
    },
    of: (feature) => feature.row.mean_activation,
  },
  {
    info: {
      title: "Decoder norm",
      unit: "",
      formula: "‖W_dec[i]‖",
      description: "Length of what one unit of activation adds to the activations.",
    },
    of: (feature) => feature.decoder_norm,
  },
];

/** How often and how strongly a feature fires. */
export function FeatureFigures({ feature }: { feature: Feature }) {
  const { row } = feature;
  return (
    <div className="flex flex-col gap-3">
      <div className="grid grid-cols-2 gap-x-4 gap-y-2">
        {FIGURES.map(({ info, of, share = false }) => (
          <Metric key={info.title} info={info} value={of(feature)} share={share} />
        ))}
      </div>
      {feature.count > 0 && (
        <div>
          <div
            className="mb-1 text-2xs text-muted"
            {...tip(`Active on ${format.exact(feature.count)} of ${format.exact(feature.n_tokens)} tokens`)}
          >
            Activations where it is active
            {row.density !== "normal" && ` (${row.density})`}
          </div>
          <ActivationHistogram {...feature.histogram} label="Activations" />
        </div>
      )}
    </div>
  );
}
