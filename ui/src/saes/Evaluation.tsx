import { useQuery } from "@tanstack/react-query";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { ActivationHistogram, format, Metric, type MetricInfo, RelativeTime, Section } from "@/kit";

type Found = components["schemas"]["EvaluationOut"];
type Report = components["schemas"]["Report"];

/** What belongs together, in the order in which one asks. */
const GROUPS: [title: string, names: string[]][] = [
  [
    "The model's loss with it spliced in",
    [
      "ce_loss_score",
      "ce_loss_score_mean",
      "ce_loss_without_sae",
      "ce_loss_with_sae",
      "ce_loss_with_ablation",
      "ce_loss_with_mean",
    ],
  ],
  [
    "How far its predictions move",
    ["kl_div_score", "kl_div_score_mean", "kl_div_with_sae", "kl_div_with_ablation", "kl_div_with_mean"],
  ],
  ["Reconstruction", ["fvu", "explained_variance", "cosine", "mse", "mse_per_token"]],
  [
    "Sparsity",
    ["l0", "l1", "dead_latents", "dead_fraction", "dense_latents", "dense_fraction", "frequent_fraction"],
  ],
  ["Shrinkage", ["relative_reconstruction_bias", "l2_ratio", "projection", "l2_norm_in", "l2_norm_out"]],
  ["Directions", ["max_decoder_cosine", "encoder_decoder_cosine"]],
  [
    "Feature absorption",
    ["absorption_full", "absorption_fraction", "absorption_letters", "absorption_split_latents"],
  ],
  [
    "Sparse probing",
    [
      "sparse_probing_top_1",
      "sparse_probing_top_2",
      "sparse_probing_top_5",
      "sparse_probing_model_top_1",
      "sparse_probing_model_top_2",
      "sparse_probing_model_top_5",
      "sparse_probing_model_all",
    ],
  ],
  [
    "Explained variance by other definitions",
    ["explained_variance_legacy", "explained_variance_about_zero", "explained_variance_sae_bench"],
  ],
];

const HISTOGRAMS: [name: string, title: string, formula: string][] = [
  ["log_frequency", "Frequencies", "log₁₀ of the share of tokens"],
  ["max_decoder_cosine", "Nearest decoder direction", "max_{j≠i} cos(dᵢ, dⱼ)"],
  ["encoder_decoder_cosine", "Encoder against decoder", "cos(eᵢ, dᵢ)"],
];

/** The newest evaluation of an SAE; null where there is none, undefined while that is not known. */
export function useEvaluation(saeId: string): Found | null | undefined {
  const { data } = useQuery({
    queryKey: ["saes", saeId, "evaluation"],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/saes/{sae_id}/evaluation", { params: { path: { sae_id: saeId } }, signal })),
  });
  return data;
}

/** Every number of an evaluation, each with its formula, and what they were measured on. */
export function Evaluation({ found }: { found: Found }) {
  const { report, infos } = found;
  return (
    <div className="flex min-w-0 flex-col gap-5">
      {GROUPS.map(([title, names]) => {
        const shown = names.filter((name) => report.metrics[name] !== undefined);
        return (
          shown.length > 0 && (
            <Section key={title} title={title}>
              <div className="grid grid-cols-2 gap-3 sm:grid-cols-3 xl:grid-cols-4">
                {shown.map((name) => (
                  <Metric key={name} info={explained(infos[name], name)} value={report.metrics[name]} />
                ))}
              </div>
            </Section>
          )
        );
      })}
      {report.notes.map((note) => (
        <p key={note} className="text-muted">
          {note}
        </p>
      ))}
      <Histograms report={report} />
      {report.letters.length > 0 && <Letters report={report} />}
      {report.probe_sets.length > 0 && <ProbeSets report={report} />}
      <p className="text-xs text-muted">
        On {format.figure(report.tokens)} tokens
        {report.spliced_tokens > 0 && `, ${format.figure(report.spliced_tokens)} of them with it spliced in`}
        {found.held_out_tokens !== null &&
          ` (the first ${format.figure(found.held_out_tokens)} were held out of its training)`}
        {report.settings.skip_special && "; special tokens left out"}. <RelativeTime at={found.at} />
      </p>
    </div>
  );
}

/** A metric's meaning, and whose definition it is where several are in use. */
function explained(info: Found["infos"][string] | undefined, name: string): MetricInfo {
  if (!info) return { title: name.replaceAll("_", " "), unit: "", formula: "", description: "" };
  const { version, description } = info;
  // The unit of a share is said by the figure itself.
  const unit = info.unit === "fraction" || info.unit === "accuracy" ? "" : info.unit;
  return { ...info, unit, description: version ? `${description}\nAs in ${version}.` : description };
}

function Histograms({ report }: { report: Report }) {
  return (
    <Section title="Over latents">
      <div className="grid gap-x-8 gap-y-4 sm:grid-cols-2">
        {HISTOGRAMS.map(([name, title, formula]) => {
          const histogram = report.histograms[name];
          return (
            histogram && (
              <div key={name}>
                <div className="mb-1 text-xs">
                  {title} <code className="text-2xs text-muted">{formula}</code>
                </div>
                <ActivationHistogram {...histogram} label={title} unit="latent" />
              </div>
            )
          );
        })}
      </div>
    </Section>
  );
}

const CELL = "px-2 py-0.5 text-right tabular-nums";

function Letters({ report }: { report: Report }) {
  return (
    <Section title="Absorption by letter">
      <table className="text-xs">
        <thead className="text-muted">
          <tr>
            {["Letter", "Words", "Probe F1", "Full", "Fraction", "Main latents"].map((name) => (
              <th key={name} className={CELL}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {report.letters.map((one) => (
            <tr key={one.letter} className={one.evaluated ? "" : "text-muted"}>
              <td className={CELL}>{one.letter.toUpperCase()}</td>
              <td className={CELL}>{format.figure(one.words)}</td>
              <td className={CELL}>{format.figure(one.probe_f1)}</td>
              <td className={CELL}>{format.figure(one.full)}</td>
              <td className={CELL}>{format.figure(one.fraction)}</td>
              <td className={CELL}>{one.main_latents.join(", ")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Section>
  );
}

function ProbeSets({ report }: { report: Report }) {
  return (
    <Section title="Sparse probing by set">
      <table className="text-xs">
        <thead className="text-muted">
          <tr>
            {["Set", "1 latent", "2", "5", "1 channel", "2", "5", "all"].map((name, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: a fixed row.
              <th key={index} className={CELL}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {report.probe_sets.map((set) => (
            <tr key={set.name}>
              <td className={CELL}>{set.name}</td>
              {[...[1, 2, 5].map((k) => set.latents[k]), ...[1, 2, 5].map((k) => set.channels[k])].map(
                (value, index) => (
                  // biome-ignore lint/suspicious/noArrayIndexKey: a fixed row.
                  <td key={index} className={CELL}>
                    {format.figure(value)}
                  </td>
                ),
              )}
              <td className={CELL}>{format.figure(set.all_channels)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Section>
  );
}
