import { useQuery } from "@tanstack/react-query";
import { ErrorNote, Section, Skeleton, TokenStrip } from "@/kit";
import { FeatureFigures } from "./FeatureFigures";
import { LabelEditor } from "./LabelEditor";
import { Logits } from "./Logits";
import { type Extraction, featureOptions } from "./query";

/** A feature beside the table: enough to judge it without leaving the list. */
export function FeatureGlance({ extraction, index }: { extraction: Extraction; index: number }) {
  const { data, error, refetch } = useQuery({
    ...featureOptions(extraction.id, index),
    // The one before stays until this one is there, so that nothing flickers while one moves down the list.
    placeholderData: (before) => before,
  });
  if (error) return <ErrorNote error={error} onRetry={() => void refetch()} />;
  if (!data)
    return (
      <div role="status" aria-label="Loading" className="flex flex-col gap-4">
        <Skeleton className="h-8 w-2/3" />
        <Skeleton className="h-20 w-full" />
        <Skeleton className="h-48 w-full" />
      </div>
    );
  const top = data.examples.filter((one) => one.group === "top").slice(0, 10);
  return (
    <div className={`flex flex-col gap-5 ${data.row.index === index ? "" : "opacity-60"}`}>
      <LabelEditor key={data.row.index} extractionId={extraction.id} row={data.row} />
      <Section title="Strongest examples">
        {top.length === 0 && <p className="text-muted">It never fired.</p>}
        <ul className="flex flex-col gap-1">
          {top.map((example) => (
            <li key={`${example.sequence}-${example.position}`}>
              <TokenStrip
                label={`Example with ${example.strongest}`}
                tokens={example.tokens}
                values={example.activations}
                max={data.row.max_activation}
                mark={example.position - example.window_start}
                oneLine
                centred
              />
            </li>
          ))}
        </ul>
      </Section>
      <FeatureFigures feature={data} />
      <Logits feature={data} count={8} />
    </div>
  );
}
