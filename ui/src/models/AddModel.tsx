import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { Dialog, type FormValue, SchemaForm, SkeletonLines } from "@/kit";

const KINDS = {
  source: { hub: "Hugging Face hub", folder: "Folder on the server", gguf: "GGUF file on the server" },
};

/** Adds a model; its page then shows how it is fetched. */
export function AddModel({ open, onClose }: { open: boolean; onClose: () => void }) {
  const schema = useSchema("ModelCreate");
  const client = useQueryClient();
  const navigate = useNavigate();
  const [value, setValue] = useState<FormValue>({ source: { kind: "hub", revision: "main" }, name: null });
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title="Add a model"
      description="Weights are kept as safetensors; code that comes with a repository is never run."
    >
      {schema ? (
        <SchemaForm
          {...schema}
          value={value}
          onChange={setValue}
          basic={["source", "name"]}
          kinds={KINDS}
          submit="Add model"
          onCancel={onClose}
          onSubmit={async (wanted) => {
            const model = await body(
              api.POST("/api/v1/models", { body: wanted as components["schemas"]["ModelCreate"] }),
            );
            void client.invalidateQueries({ queryKey: ["models"] });
            await navigate({ to: "/models/$id", params: { id: model.id } });
          }}
        />
      ) : (
        <SkeletonLines />
      )}
    </Dialog>
  );
}
