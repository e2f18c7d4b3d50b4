import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Upload } from "lucide-react";
import { Tabs as Radix } from "radix-ui";
import { type FormEvent, useId, useRef, useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { upload } from "@/api/upload";
import { Button, Dialog, ErrorNote, Field, format, type Progress, ProgressBar } from "@/kit";
import type { Sae } from "./SaeFacts";

const TABS = { upload: "Upload a file", path: "On the server" };

const SUFFIXES = [".zip", ".safetensors", ".npz", ".pt", ".pth"];

/** Brings an SAE in, in any known format. */
export function ImportSae({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Dialog open={open} onClose={onClose} title="Import an SAE">
      <Form onClose={onClose} />
    </Dialog>
  );
}

function Form({ onClose }: { onClose: () => void }) {
  const id = useId();
  const client = useQueryClient();
  const navigate = useNavigate();
  const [tab, setTab] = useState("upload");
  const [file, setFile] = useState<File | null>(null);
  const [over, setOver] = useState(false);
  const [path, setPath] = useState("");
  const [name, setName] = useState("");
  const [model, setModel] = useState("");
  const [hook, setHook] = useState("");
  const [progress, setProgress] = useState<Progress | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Problem | null>(null);
  const sending = useRef<XMLHttpRequest>(null);
  const models = useQuery({
    queryKey: ["models", "choices"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/models", { params: { query: { limit: 200 } }, signal })),
  });
  const formats = useQuery({
    queryKey: ["saes", "formats"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/saes/formats", { signal })),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const points = models.data?.items.find((one) => one.id === model)?.hook_points ?? [];
  const given = tab === "upload" ? file !== null : path.trim() !== "";

  const send = (): Promise<Sae> => {
    const wanted = { name: name.trim() || null, model_id: model || null, hook: hook.trim() || null };
    if (tab === "path")
      return body(api.POST("/api/v1/saes/import", { body: { path: path.trim(), ...wanted } }));
    const form = new FormData();
    for (const [key, value] of Object.entries(wanted)) if (value) form.append(key, value);
    form.append("file", file as File);
    return upload<Sae>("/api/v1/saes/upload", form, sending, setProgress);
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const made = await send();
      void client.invalidateQueries({ queryKey: ["saes"] });
      await navigate({ to: "/saes/$id", params: { id: made.id } });
    } catch (thrown) {
      setError(Problem.from(thrown));
    } finally {
      setBusy(false);
      setProgress(null);
    }
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      <Radix.Root value={tab} onValueChange={setTab}>
        <Radix.List
          aria-label="Where it comes from"
          className="mb-4 flex gap-1 rounded-[6px] bg-sunken p-0.5"
        >
          {Object.entries(TABS).map(([value, label]) => (
            <Radix.Trigger
              key={value}
              value={value}
              className="h-6 flex-1 rounded-[5px] text-muted data-[state=active]:bg-raised data-[state=active]:text-ink data-[state=active]:shadow-sm"
            >
              {label}
            </Radix.Trigger>
          ))}
        </Radix.List>
        <Radix.Content value="upload">
          <label
            htmlFor={`${id}-file`}
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
              {file
                ? format.bytes(file.size)
                : `The zipped folder of one SAE, or its ${SUFFIXES.slice(1, -1).join(", ")} or ${SUFFIXES.at(-1)} file`}
            </span>
            <input
              id={`${id}-file`}
              type="file"
              accept={SUFFIXES.join(",")}
              className="sr-only"
              onChange={(event) => setFile(event.target.files?.[0] ?? null)}
            />
          </label>
        </Radix.Content>
        <Radix.Content value="path">
          <Field
            id={`${id}-path`}
            label="Path"
            needed
            error={error?.fields.path}
            hint="The folder of one SAE, a zip file of it, or its file with tensors, below the folders of the server's setting import_folders."
          >
            <input
              id={`${id}-path`}
              className="field"
              spellCheck={false}
              value={path}
              onChange={(event) => setPath(event.target.value)}
            />
          </Field>
        </Radix.Content>
      </Radix.Root>
      <p className="-mt-2 min-h-8 text-xs text-muted">
        {formats.data &&
          `The format is found by what the files hold: ${formats.data.map((one) => one.title).join(", ")}.`}
      </p>
      <div className="grid gap-x-4 gap-y-3 sm:grid-cols-2">
        <Field id={`${id}-name`} label="Name" hint="Default: the file's name." error={error?.fields.name}>
          <input
            id={`${id}-name`}
            className="field"
            maxLength={200}
            placeholder={file?.name.replace(/\.\w+$/, "") ?? ""}
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </Field>
        <Field
          id={`${id}-model`}
          label="Model"
          hint="The model it belongs to. Default: the one that its configuration names."
          error={error?.fields.model_id}
        >
          <select
            id={`${id}-model`}
            className="field"
            value={model}
            onChange={(event) => setModel(event.target.value)}
          >
            <option value="">as its configuration says</option>
            {models.data?.items.map((one) => (
              <option key={one.id} value={one.id}>
                {one.name}
              </option>
            ))}
          </select>
        </Field>
        <Field
          id={`${id}-hook`}
          label="Hook point"
          hint="Where in the model it reads. Default: the one in its configuration."
          error={error?.fields.hook}
        >
          <input
            id={`${id}-hook`}
            className="field"
            list={`${id}-points`}
            spellCheck={false}
            placeholder="as its configuration says"
            value={hook}
            onChange={(event) => setHook(event.target.value)}
          />
          <datalist id={`${id}-points`}>
            {points.map((point) => (
              <option key={point.name} value={point.name} />
            ))}
          </datalist>
        </Field>
      </div>
      {progress && <ProgressBar progress={progress} label="Upload" />}
      {error && <ErrorNote error={error} />}
      <div className="flex justify-end gap-2">
        <Button
          onClick={() => {
            sending.current?.abort();
            onClose();
          }}
        >
          Cancel
        </Button>
        <Button type="submit" look="primary" disabled={!given} busy={busy}>
          Import
        </Button>
      </div>
    </form>
  );
}
