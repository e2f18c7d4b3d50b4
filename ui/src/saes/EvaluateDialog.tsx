import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { Dialog, type FormValue, format, invalid, SchemaForm, SkeletonLines } from "@/kit";
import { defaultsOf } from "@/kit/jsonSchema";
import type { Sae } from "./SaeFacts";

type Wanted = components["schemas"]["EvaluationCreate"];

const BASIC = ["tokenization_id", "tokens", "spliced_tokens", "absorption", "probing"];

interface Props {
  sae: Sae;
  open: boolean;
  onClose: () => void;
}

/** What to measure of an SAE, and on which tokens. */
export function EvaluateDialog(props: Props) {
  return (
    <Dialog open={props.open} onClose={props.onClose} title={`Evaluate ${props.sae.name}`} wide>
      <Form {...props} />
    </Dialog>
  );
}

function Form({ sae, onClose }: Props) {
  const schema = useSchema("EvaluationCreate");
  const client = useQueryClient();
  const [typed, setTyped] = useState<FormValue | null>(null);
  const tokenizations = useQuery({
    queryKey: ["tokenizations", "choices", sae.model_id],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/tokenizations", {
          params: { query: { model_id: sae.model_id ?? undefined, limit: 200 } },
          signal,
        }),
      ),
  });
  if (!schema) return <SkeletonLines />;
  return (
    <SchemaForm
      {...schema}
      value={typed ?? defaultsOf(schema.schema, schema.resolve)}
      onChange={setTyped}
      basic={BASIC}
      widgets={{
        tokenization_id: ({ id, value, onChange, error }) => (
          <select
            id={id}
            className="field"
            value={String(value ?? "")}
            onChange={(event) => onChange(event.target.value || null)}
            {...invalid(id, error)}
          >
            <option value="">
              {sae.training_id ? "those of its training, held-out ones first" : "the newest of its model"}
            </option>
            {(tokenizations.data?.items ?? [])
              .filter((one) => one.ready)
              .map((one) => (
                <option key={one.id} value={one.id}>
                  {one.dataset_name} / {one.name} ({format.figure(one.n_tokens)} tokens)
                </option>
              ))}
          </select>
        ),
      }}
      submit="Evaluate"
      onCancel={onClose}
      onSubmit={async (wanted) => {
        await body(
          api.POST("/api/v1/saes/{sae_id}/evaluations", {
            params: { path: { sae_id: sae.id } },
            body: wanted as unknown as Wanted,
          }),
        );
        await client.invalidateQueries({ queryKey: ["saes"] });
        onClose();
      }}
    />
  );
}
