import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Tabs as Radix } from "radix-ui";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { Dialog, type FormValue, SchemaForm, SkeletonLines } from "@/kit";
import type { Dataset } from "./DatasetFacts";
import { UploadForm } from "./UploadForm";

const KINDS = {
  source: {
    text: "Text file",
    jsonl: "JSON Lines file",
    csv: "CSV file",
    parquet: "Parquet file",
    folder: "Folder of text files",
  },
};
const HIDDEN = ["source.uploaded"];
const TABS = { upload: "Upload", hub: "From the hub", path: "On the server" };

/** Adds a data set by upload, from the hub, or from a path on the server. */
export function AddDataset({ open, onClose }: { open: boolean; onClose: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const added = async (dataset: Dataset) => {
    void client.invalidateQueries({ queryKey: ["datasets"] });
    await navigate({ to: "/datasets/$id", params: { id: dataset.id } });
  };
  return (
    <Dialog open={open} onClose={onClose} title="Add a data set">
      <Radix.Root defaultValue="upload">
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
          <UploadForm onAdded={added} onCancel={onClose} />
        </Radix.Content>
        <Radix.Content value="hub">
          <SourceForm
            initial={{ kind: "hub", split: "train", revision: "main" }}
            onAdded={added}
            onCancel={onClose}
          />
        </Radix.Content>
        <Radix.Content value="path">
          <p className="mb-3 text-muted">
            The server reads only below the folders of its setting <code>import_folders</code>.
          </p>
          <SourceForm initial={{ kind: "text", documents: "paragraph" }} onAdded={added} onCancel={onClose} />
        </Radix.Content>
      </Radix.Root>
    </Dialog>
  );
}

function SourceForm({
  initial,
  onAdded,
  onCancel,
}: {
  initial: FormValue;
  onAdded: (dataset: Dataset) => Promise<void>;
  onCancel: () => void;
}) {
  const schema = useSchema("DatasetCreate");
  const [value, setValue] = useState<FormValue>({ source: initial, name: null, text_column: null });
  if (!schema) return <SkeletonLines />;
  return (
    <SchemaForm
      {...schema}
      value={value}
      onChange={setValue}
      basic={["source"]}
      hidden={initial.kind === "hub" ? [...HIDDEN, "source.kind"] : HIDDEN}
      kinds={KINDS}
      submit="Add data set"
      onCancel={onCancel}
      onSubmit={async (wanted) =>
        onAdded(
          await body(
            api.POST("/api/v1/datasets", { body: wanted as components["schemas"]["DatasetCreate"] }),
          ),
        )
      }
    />
  );
}
