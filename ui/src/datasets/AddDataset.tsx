import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Tabs as Radix } from "radix-ui";
import { useCallback, useState } from "react";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { HubAccess } from "@/hub/HubAccess";
import { Dialog, type FormValue, SchemaForm, SkeletonLines } from "@/kit";
import { AddFromPreview } from "./AddFromPreview";
import type { Dataset } from "./DatasetFacts";
import { type FinishedUpload, UploadForm } from "./UploadForm";
import { UploadFormat } from "./UploadFormat";

export type Source = components["schemas"]["DatasetCreate"]["source"];

const TABS = { upload: "Upload", hub: "From the hub", path: "On the server" };
const KINDS = {
  source: {
    text: "Text file",
    jsonl: "JSON Lines file",
    csv: "CSV file",
    parquet: "Parquet file",
    folder: "Folder of files",
  },
};
const HUB_HIDDEN = ["kind", "config", "split", "max_rows"];
const HIDDEN = ["upload", "rows", "source.uploaded", "source.max_rows"];

/** Adds a data set by upload, from the hub, or from a path on the server; each is looked at before it is added. */
export function AddDataset({ open, onClose }: { open: boolean; onClose: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const added = async (dataset: Dataset) => {
    void client.invalidateQueries({ queryKey: ["datasets"] });
    await navigate({ to: "/datasets/$id", params: { id: dataset.id } });
  };
  return (
    <Dialog open={open} onClose={onClose} title="Add a data set" wide>
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
          <FromUpload onAdded={added} onCancel={onClose} />
        </Radix.Content>
        <Radix.Content value="hub">
          <FromSource
            initial={{ kind: "hub", split: "train", revision: "main", documents: "line" }}
            onAdded={added}
            onCancel={onClose}
          />
        </Radix.Content>
        <Radix.Content value="path">
          <p className="mb-3 text-muted">
            The server reads only below the folders of its setting <code>import_folders</code>.
          </p>
          <FromSource initial={{ kind: "text", documents: "paragraph" }} onAdded={added} onCancel={onClose} />
        </Radix.Content>
      </Radix.Root>
    </Dialog>
  );
}

interface Ends {
  onAdded: (dataset: Dataset) => Promise<void>;
  onCancel: () => void;
}

function FromUpload(ends: Ends) {
  const [upload, setUpload] = useState<FinishedUpload | null>(null);
  const [source, setSource] = useState<Source | null>(null);
  const whole = useCallback((finished: FinishedUpload | null) => {
    setUpload(finished);
    setSource(finished?.source ?? null);
  }, []);
  return (
    <div className="flex flex-col gap-4">
      <UploadForm onWhole={whole} />
      {upload && <UploadFormat upload={upload} source={source} onChange={setSource} />}
      {upload && source && (
        <AddFromPreview
          key={`${upload.id} ${source.kind}`}
          source={source}
          upload={upload.id}
          onSource={setSource}
          {...ends}
        />
      )}
    </div>
  );
}

/** A form for the source from the API's schema, then what it holds. */
function FromSource({ initial, ...ends }: Ends & { initial: FormValue }) {
  const hub = initial.kind === "hub";
  const schema = useSchema(hub ? "HubSource" : "PreviewRequest");
  const [value, setValue] = useState<FormValue>(hub ? initial : { source: initial });
  const [looked, setLooked] = useState<Source | null>(null);
  if (!schema) return <SkeletonLines />;
  return (
    <div className="flex flex-col gap-4">
      <SchemaForm
        {...schema}
        value={value}
        onChange={(next) => {
          setValue(next);
          setLooked(null);
        }}
        basic={hub ? ["repo", "revision"] : ["source"]}
        hidden={hub ? HUB_HIDDEN : HIDDEN}
        kinds={KINDS}
        submit={looked ? null : "Look at it"}
        onCancel={ends.onCancel}
        onSubmit={async (wanted) => setLooked({ ...((hub ? wanted : wanted.source) as object) } as Source)}
      >
        {hub && <HubAccess />}
      </SchemaForm>
      {looked && <AddFromPreview source={looked} onSource={setLooked} {...ends} />}
    </div>
  );
}
