import { useQuery } from "@tanstack/react-query";
import { useId } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { Field, format, Section } from "@/kit";
import { Markdown } from "@/kit/Markdown";
import { Columns } from "./Columns";
import { type Dataset, DatasetFacts } from "./DatasetFacts";
import { StaleSurveys } from "./StaleSurveys";
import { TagInput } from "./TagInput";
import { useSummary } from "./useSummary";

type Change = components["schemas"]["DatasetChange"];

/** What a data set is: facts, columns, splits of its source, and what its authors say. */
export function Overview({
  dataset,
  onChange,
}: {
  dataset: Dataset;
  onChange: (change: Change) => Promise<void>;
}) {
  const { data: card } = useQuery({
    queryKey: ["datasets", dataset.id, "card"],
    enabled: dataset.source.kind === "hub" && dataset.ready,
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/datasets/{dataset_id}/card", {
          params: { path: { dataset_id: dataset.id } },
          signal,
        }),
      ),
  });
  const change = async (wanted: Change) => {
    try {
      await onChange(wanted);
    } catch (error) {
      toast.error(Problem.from(error).detail);
    }
  };
  const splits = dataset.about?.configurations ?? [];
  return (
    <div className="grid gap-x-10 gap-y-6 p-5 lg:grid-cols-[minmax(0,460px)_minmax(0,1fr)]">
      <div className="flex flex-col gap-6">
        <DatasetFacts dataset={dataset} />
        <Tags dataset={dataset} onChange={(tags) => change({ tags })} />
        {splits.length > 0 && (
          <Section title="Splits of the source">
            <Splits dataset={dataset} />
          </Section>
        )}
      </div>
      <div className="flex min-w-0 flex-col gap-6">
        {dataset.ready && (
          <div>
            <Columns dataset={dataset} onText={(column) => change({ text_column: column })} />
            <StaleSurveys dataset={dataset} />
          </div>
        )}
        {card?.markdown && (
          <Section title="Data set card">
            <Markdown text={card.markdown} />
          </Section>
        )}
      </div>
    </div>
  );
}

function Tags({ dataset, onChange }: { dataset: Dataset; onChange: (tags: string[]) => void }) {
  const id = useId();
  const summary = useSummary();
  return (
    <Field id={id} label="Tags" hint="Words to find it by; Enter or a comma ends one.">
      <TagInput
        id={id}
        tags={dataset.tags}
        onChange={onChange}
        known={summary?.tags.map((tag) => tag.value)}
      />
    </Field>
  );
}

function Splits({ dataset }: { dataset: Dataset }) {
  const { source } = dataset;
  const chosen = source.kind === "hub" ? source : null;
  const configurations = dataset.about?.configurations ?? [];
  return (
    <div className="max-h-64 overflow-y-auto">
      <table className="w-full text-left">
        <thead className="text-xs text-muted">
          <tr className="border-b border-line">
            <th className="py-1 font-normal">Configuration</th>
            <th className="font-normal">Split</th>
            <th className="text-right font-normal">Rows</th>
            <th className="text-right font-normal">Size</th>
          </tr>
        </thead>
        <tbody>
          {configurations.flatMap((one) =>
            one.splits.map((split) => {
              const here =
                split.name === chosen?.split && (configurations.length === 1 || one.name === chosen?.config);
              return (
                <tr
                  key={`${one.name}/${split.name}`}
                  className={`border-b border-line/60 ${here ? "font-medium" : ""}`}
                >
                  <td className="py-1">{one.name}</td>
                  <td>
                    {split.name}
                    {here && <span className="ml-2 text-2xs font-normal text-muted">this one</span>}
                  </td>
                  <td className="text-right">{split.rows === null ? "–" : format.figure(split.rows)}</td>
                  <td className="text-right">{format.bytes(split.bytes)}</td>
                </tr>
              );
            }),
          )}
        </tbody>
      </table>
    </div>
  );
}
