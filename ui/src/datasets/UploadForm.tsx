import { Upload } from "lucide-react";
import { type FormEvent, useId, useRef, useState } from "react";
import type { components } from "@/api/schema";
import { upload } from "@/api/upload";
import { Button, ErrorNote, Field, format, type Progress, ProgressBar } from "@/kit";
import type { Dataset } from "./DatasetFacts";

type Documents = components["schemas"]["TextSource"]["documents"];

/** Choose or drop a file; it is sent with a bar that tells how fast. */
export function UploadForm({
  onAdded,
  onCancel,
}: {
  onAdded: (dataset: Dataset) => Promise<void>;
  onCancel: () => void;
}) {
  const id = useId();
  const [file, setFile] = useState<File | null>(null);
  const [name, setName] = useState("");
  const [column, setColumn] = useState("");
  const [documents, setDocuments] = useState<Documents>("paragraph");
  const [over, setOver] = useState(false);
  const [progress, setProgress] = useState<Progress | null>(null);
  const [error, setError] = useState<unknown>(null);
  const sending = useRef<XMLHttpRequest>(null);
  const isText = file !== null && !/\.(jsonl|ndjson|csv|tsv|parquet)$/i.test(file.name);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!file) return;
    const form = new FormData();
    if (name.trim()) form.append("name", name.trim());
    if (column.trim()) form.append("text_column", column.trim());
    if (isText) form.append("documents", documents);
    form.append("file", file);
    setError(null);
    try {
      await onAdded(await upload<Dataset>("/api/v1/datasets/upload", form, sending, setProgress));
    } catch (thrown) {
      setError(thrown);
    } finally {
      setProgress(null);
    }
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      <label
        htmlFor={id}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          setFile(event.dataTransfer.files[0] ?? null);
        }}
        className={`flex cursor-pointer flex-col items-center gap-1 rounded-[7px] border border-dashed px-4 py-6 text-center focus-within:outline-2 focus-within:outline-accent ${over ? "border-accent bg-accent-wash" : "border-line-strong hover:bg-hover"}`}
      >
        <Upload size={18} aria-hidden="true" className="text-muted" />
        <span className="max-w-full truncate font-medium">
          {file ? file.name : "Choose a file, or drop it here"}
        </span>
        <span className="text-xs text-muted">
          {file ? format.bytes(file.size) : "Text (UTF-8), JSONL, CSV or Parquet"}
        </span>
        <input
          id={id}
          type="file"
          accept=".txt,.text,.md,.jsonl,.ndjson,.csv,.tsv,.parquet"
          className="sr-only"
          onChange={(event) => setFile(event.target.files?.[0] ?? null)}
        />
      </label>
      <div className="grid gap-x-4 gap-y-3 sm:grid-cols-2">
        <Field id={`${id}-name`} label="Name" hint="Default: the file's name.">
          <input
            id={`${id}-name`}
            className="field"
            maxLength={200}
            placeholder={file?.name.replace(/\.\w+$/, "") ?? ""}
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </Field>
        {isText ? (
          <Field
            id={`${id}-documents`}
            label="One row is"
            hint="What becomes one row of the data set: paragraphs end at a blank line."
          >
            <select
              id={`${id}-documents`}
              className="field"
              value={documents}
              onChange={(event) => setDocuments(event.target.value as Documents)}
            >
              <option value="paragraph">a paragraph</option>
              <option value="line">a line</option>
              <option value="file">the whole file</option>
            </select>
          </Field>
        ) : (
          <Field
            id={`${id}-column`}
            label="Text column"
            hint="The column that holds the text. Default: “text”, or the only column of strings."
          >
            <input
              id={`${id}-column`}
              className="field"
              value={column}
              placeholder="found by itself"
              onChange={(event) => setColumn(event.target.value)}
            />
          </Field>
        )}
      </div>
      {progress && <ProgressBar progress={progress} label="Upload" />}
      {error !== null && <ErrorNote error={error} />}
      <div className="flex justify-end gap-2">
        <Button
          onClick={() => {
            sending.current?.abort();
            onCancel();
          }}
        >
          Cancel
        </Button>
        <Button type="submit" look="primary" disabled={!file} busy={progress !== null}>
          Upload
        </Button>
      </div>
    </form>
  );
}
