import { useId } from "react";
import { Field } from "@/kit";
import type { Source } from "./AddDataset";
import type { FinishedUpload } from "./UploadForm";

const FORMATS = { text: "Text (UTF-8)", jsonl: "JSON Lines", csv: "CSV", parquet: "Parquet" };
type Format = keyof typeof FORMATS;

/** What a file is, where its name does not say, and what one row of it is. */
export function UploadFormat({
  upload,
  source,
  onChange,
}: {
  upload: FinishedUpload;
  source: Source | null;
  onChange: (source: Source) => void;
}) {
  const id = useId();
  const turn = (kind: Format) => {
    const file = { path: upload.filename, uploaded: false, max_rows: null };
    if (kind === "text") onChange({ ...file, kind, documents: "paragraph" });
    else if (kind === "csv") onChange({ ...file, kind, delimiter: "," });
    else onChange({ ...file, kind });
  };
  return (
    <div className="grid gap-x-4 gap-y-3 sm:grid-cols-2">
      <Field
        id={`${id}-format`}
        label="Format"
        hint="Told by the file's ending; say otherwise if that is wrong."
      >
        <select
          id={`${id}-format`}
          className="field"
          value={source?.kind ?? ""}
          onChange={(event) => turn(event.target.value as Format)}
        >
          {source === null && <option value="">its name does not tell: choose one</option>}
          {Object.entries(FORMATS).map(([kind, words]) => (
            <option key={kind} value={kind}>
              {words}
            </option>
          ))}
        </select>
      </Field>
      {source?.kind === "text" && (
        <Field
          id={`${id}-documents`}
          label="One row is"
          hint="What becomes one row of the data set: paragraphs end at a blank line."
        >
          <select
            id={`${id}-documents`}
            className="field"
            value={source.documents}
            onChange={(event) =>
              onChange({ ...source, documents: event.target.value as typeof source.documents })
            }
          >
            <option value="paragraph">a paragraph</option>
            <option value="line">a line</option>
            <option value="file">the whole file</option>
          </select>
        </Field>
      )}
      {source?.kind === "csv" && (
        <Field id={`${id}-delimiter`} label="Columns are separated by">
          <select
            id={`${id}-delimiter`}
            className="field"
            value={source.delimiter}
            onChange={(event) => onChange({ ...source, delimiter: event.target.value })}
          >
            <option value=",">a comma</option>
            <option value={"\t"}>a tab</option>
            <option value=";">a semicolon</option>
            <option value="|">a bar</option>
          </select>
        </Field>
      )}
    </div>
  );
}
