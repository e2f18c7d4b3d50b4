import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Upload as Icon } from "lucide-react";
import { useEffect, useId, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { Button, ErrorNote, format, ProgressBar } from "@/kit";
import { useUpload } from "./useUpload";

export type FinishedUpload = components["schemas"]["FinishedUpload"];

const ENDINGS = [".txt", ".text", ".md", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"];
const ACCEPT = [...ENDINGS, ".gz", ".zst", ".zip"].join(",");

/** Choose or drop a file; it is sent at once, in pieces, and goes on where it stopped. */
export function UploadForm({ onWhole }: { onWhole: (upload: FinishedUpload | null) => void }) {
  const id = useId();
  const client = useQueryClient();
  const [file, setFile] = useState<File | null>(null);
  const [over, setOver] = useState(false);
  const { progress, error, whole, send, stop } = useUpload();
  const source = useQuery({
    queryKey: ["upload-source", whole?.id],
    enabled: whole !== null,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/datasets/uploads/{upload_id}/source", {
          params: { path: { upload_id: whole?.id ?? "" } },
          signal,
        }),
      ),
  });
  useEffect(() => {
    if (source.data) onWhole(source.data);
  }, [source.data, onWhole]);
  const choose = (chosen: File | null | undefined) => {
    if (!chosen) return;
    setFile(chosen);
    onWhole(null);
    void send(chosen);
  };
  return (
    <div className="flex flex-col gap-3">
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
          choose(event.dataTransfer.files[0]);
        }}
        className={`flex cursor-pointer flex-col items-center gap-1 rounded-[7px] border border-dashed px-4 text-center focus-within:outline-2 focus-within:outline-accent ${file ? "py-3" : "py-8"} ${over ? "border-accent bg-accent-wash" : "border-line-strong hover:bg-hover"}`}
      >
        <Icon size={18} aria-hidden="true" className="text-muted" />
        <span className="max-w-full truncate font-medium">
          {file ? file.name : "Choose a file, or drop it here"}
        </span>
        <span className="text-xs text-muted">
          {file ? format.bytes(file.size) : "Text (UTF-8), JSONL, CSV or Parquet, also as .gz, .zst or .zip"}
        </span>
        <input
          id={id}
          type="file"
          accept={ACCEPT}
          className="sr-only"
          onChange={(event) => choose(event.target.files?.[0])}
        />
      </label>
      {progress && (
        <div className="flex items-center gap-3">
          <div className="min-w-0 flex-1">
            <ProgressBar progress={progress} label="Upload" />
          </div>
          <Button
            onClick={() => {
              stop();
              setFile(null);
              void client.invalidateQueries({ queryKey: ["uploads"] });
            }}
          >
            Stop
          </Button>
        </div>
      )}
      {error !== null && <ErrorNote error={error} onRetry={() => file && void send(file)} />}
      {source.error && <ErrorNote error={source.error} />}
      {!file && <Unfinished />}
    </div>
  );
}

/** What was left half sent: choosing the same file goes on with it. */
function Unfinished() {
  const client = useQueryClient();
  const { data = [] } = useQuery({
    queryKey: ["uploads"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/datasets/uploads", { signal })),
    staleTime: 0,
  });
  if (data.length === 0) return null;
  return (
    <section aria-label="Unfinished uploads">
      <h3 className="mb-1 text-xs text-muted">Half sent: choose the same file again to go on with it</h3>
      <ul>
        {data.map((upload) => (
          <li key={upload.id} className="flex h-7 items-center gap-3 border-b border-line/60">
            <span className="min-w-0 flex-1 truncate">{upload.filename}</span>
            <span className="text-muted">
              {format.bytes(upload.received)} of {format.bytes(upload.size)}
            </span>
            <button
              type="button"
              className="link"
              onClick={async () => {
                await api.DELETE("/api/v1/datasets/uploads/{upload_id}", {
                  params: { path: { upload_id: upload.id } },
                });
                await client.invalidateQueries({ queryKey: ["uploads"] });
              }}
            >
              Discard
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
