import { useId } from "react";
import { Field, format } from "@/kit";
import type { Source } from "./AddDataset";
import type { DatasetPreview } from "./PreviewPanel";

type HubSource = Extract<Source, { kind: "hub" }>;

/** Which configuration and split of a hub data set, with their sizes. */
export function HubChoice({
  source,
  preview,
  onChange,
}: {
  source: HubSource;
  preview: DatasetPreview;
  onChange: (source: HubSource) => void;
}) {
  const id = useId();
  const { configurations } = preview.about;
  const splits = configurations.find((one) => one.name === preview.config)?.splits ?? [];
  return (
    <div className="grid gap-x-4 gap-y-3 sm:grid-cols-2">
      <Field id={`${id}-config`} label="Configuration">
        <select
          id={`${id}-config`}
          className="field"
          value={preview.config ?? ""}
          onChange={(event) => onChange({ ...source, config: event.target.value })}
        >
          {configurations.map((one) => (
            <option key={one.name}>{one.name}</option>
          ))}
        </select>
      </Field>
      <Field id={`${id}-split`} label="Split">
        <select
          id={`${id}-split`}
          className="field"
          value={preview.split ?? ""}
          onChange={(event) => onChange({ ...source, config: preview.config, split: event.target.value })}
        >
          {splits.map((split) => (
            <option key={split.name} value={split.name}>
              {[split.name, split.rows ? `${format.figure(split.rows)} rows` : "", format.bytes(split.bytes)]
                .filter(Boolean)
                .join(" · ")}
            </option>
          ))}
        </select>
      </Field>
    </div>
  );
}
