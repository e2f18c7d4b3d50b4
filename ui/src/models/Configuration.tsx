import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "@/api/client";
import { CopyButton, Empty, ErrorNote, SearchField, Section, SkeletonLines } from "@/kit";

/** What the model's own files say of it. */
export function Configuration({ modelId, ready }: { modelId: string; ready: boolean }) {
  const [text, setText] = useState("");
  const answer = useQuery({
    queryKey: ["models", modelId, "configuration"],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/models/{model_id}/configuration", {
          params: { path: { model_id: modelId } },
          signal,
        }),
      ),
    enabled: ready,
  });
  if (!ready) return <Empty title="The model is not complete yet" />;
  if (answer.error)
    return (
      <div className="p-5">
        <ErrorNote error={answer.error} onRetry={() => void answer.refetch()} />
      </div>
    );
  const found = answer.data;
  if (!found)
    return (
      <div className="p-5">
        <SkeletonLines lines={10} />
      </div>
    );
  return (
    <div className="flex flex-col gap-6 p-5">
      <SearchField value={text} onChange={setText} label="Search the configuration" />
      <div className="grid gap-8 lg:grid-cols-2">
        <Table title="Model" file="config.json" values={found.config} search={text} />
        <div className="flex min-w-0 flex-col gap-8">
          <Table
            title="Tokenizer"
            file="tokenizer_config.json"
            values={found.tokenizer_config}
            search={text}
          />
          <Table
            title="Generation"
            file="generation_config.json"
            values={found.generation_config}
            search={text}
          />
          {found.chat_template && (
            <Section title="Chat template" actions={<CopyButton text={found.chat_template} />}>
              <textarea
                readOnly
                aria-label="Chat template"
                className="field font-mono text-xs [font-variant-ligatures:none]"
                rows={14}
                spellCheck={false}
                value={found.chat_template}
              />
            </Section>
          )}
        </div>
      </div>
    </div>
  );
}

function Table({
  title,
  file,
  values,
  search,
}: {
  title: string;
  file: string;
  values: Record<string, unknown>;
  search: string;
}) {
  const wanted = search.toLowerCase();
  const rows = flat(values).filter(
    ([key, value]) => key.toLowerCase().includes(wanted) || value.toLowerCase().includes(wanted),
  );
  if (Object.keys(values).length === 0) return null;
  return (
    <Section
      title={title}
      actions={<CopyButton text={JSON.stringify(values, null, 2)} label={`Copy ${file}`} />}
    >
      <table className="w-full table-fixed border-collapse">
        <tbody>
          {rows.map(([key, value]) => (
            <tr key={key} className="border-t border-line align-top">
              <th
                scope="row"
                className="w-[46%] py-0.5 pr-3 text-left font-mono text-xs font-normal break-words text-muted"
              >
                {key}
              </th>
              <td className="py-0.5 font-mono text-xs break-words [font-variant-ligatures:none]">{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length === 0 && <p className="text-muted">Nothing here has these letters.</p>}
    </Section>
  );
}

/** Nested settings by their dotted names; short lists stay on one line. */
function flat(values: Record<string, unknown>, prefix = ""): [string, string][] {
  return Object.entries(values).flatMap(([key, value]): [string, string][] => {
    const name = prefix + key;
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      const below = flat(value as Record<string, unknown>, `${name}.`);
      return below.length > 0 ? below : [[name, "{}"]];
    }
    return [[name, typeof value === "string" ? value : JSON.stringify(value)]];
  });
}
