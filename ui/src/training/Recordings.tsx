import { Section } from "@/kit";
import { EarlyFeatures } from "./EarlyFeatures";
import { FrequencyOverTime } from "./FrequencyOverTime";
import type { Training } from "./form";

/** The tab of a run that shows its latents: their distributions over time, and what some of them fire on. */
export function Recordings({ training, active }: { training: Training; active: boolean }) {
  return (
    <div className="flex flex-col gap-6 px-5 py-4">
      <Section title="Over the training">
        <FrequencyOverTime
          id={training.id}
          active={active}
          unitNorms={training.config.decoder_norm === "unit"}
        />
      </Section>
      <EarlyFeatures id={training.id} active={active} />
    </div>
  );
}
