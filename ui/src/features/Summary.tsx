import { ActivationHistogram, format, Metric, Section, SettingFacts } from "@/kit";
import { ExtractionFacts } from "./ExtractionFacts";
import type { Extraction } from "./query";

/** What the extraction counted, and under which conventions. */
export function Summary({ extraction }: { extraction: Extraction }) {
  const { summary, conventions } = extraction;
  return (
    <div className="grid gap-x-10 gap-y-6 p-5 lg:grid-cols-[minmax(300px,400px)_minmax(0,1fr)]">
      <div className="flex flex-col gap-6">
        <Section title="Extraction">
          <ExtractionFacts extraction={extraction} />
        </Section>
        <Section title="Settings">
          <SettingFacts settings={extraction.settings} />
        </Section>
        {conventions && (
          <Section title="How the numbers were made">
            <SettingFacts settings={conventions} />
          </Section>
        )}
      </div>
      {summary && (
        <div className="flex min-w-0 flex-col gap-6">
          <Section title="Latents">
            <div className="grid grid-cols-2 gap-3 sm:grid-cols-4">
              <Metric
                info={{
                  title: "L0",
                  unit: "latents per token",
                  formula: "Σ count(zᵢ > 0) / N",
                  description: "How many latents are active on a token, on average.",
                }}
                value={summary.l0}
              />
              <Metric
                info={{
                  title: "Never fired",
                  unit: "latents",
                  formula: "count of i with zᵢ = 0 on every token",
                  description: "Dead on the tokens that were read.",
                }}
                value={summary.n_dead}
              />
              <Metric
                info={{
                  title: "Rare",
                  unit: "latents",
                  formula: "frequency < 1/10 000",
                  description: "Fired on fewer than 1 in 10 000 tokens.",
                }}
                value={summary.n_rare}
              />
              <Metric
                info={{
                  title: "Dense",
                  unit: "latents",
                  formula: "frequency > 1/10",
                  description: "Fired on more than 1 in 10 tokens: seldom readable.",
                }}
                value={summary.n_dense}
              />
            </div>
          </Section>
          <div className="grid gap-8 sm:grid-cols-2">
            <Section title="Frequencies (log₁₀)">
              <ActivationHistogram
                {...summary.log10_frequencies}
                label="log10 of frequency"
                unit="latent"
                log={false}
              />
            </Section>
            <Section title="Maxima">
              <ActivationHistogram {...summary.max_activations} label="Maximum" unit="latent" log={false} />
            </Section>
          </div>
          <Section title="Work">
            <p className="text-muted">
              {format.figure(summary.n_tokens)} tokens of {format.figure(summary.n_sequences)} sequences in{" "}
              {format.duration(summary.seconds)}; {format.figure(summary.tokens_left_out)} left out.{" "}
              {Object.entries(summary.seconds_by_stage)
                .map(([stage, seconds]) => `${stage} ${format.duration(seconds)}`)
                .join(", ")}
              .
            </p>
          </Section>
        </div>
      )}
    </div>
  );
}
