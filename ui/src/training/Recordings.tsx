import { Section } from "@/kit";
import { EarlyFeatures } from "./EarlyFeatures";
import { FrequencyOverTime } from "./FrequencyOverTime";

/** The tab of a run that shows its latents: their distributions over time, and what some of them fire on. */
export function Recordings({ id, active }: { id: string; active: boolean }) {
  return (
    <div className="flex flex-col gap-6 px-5 py-4">
      <Section title="Over the training">
        <FrequencyOverTime id={id} active={active} />
      </Section>
      <EarlyFeatures id={id} active={active} />
    </div>
  );
}
