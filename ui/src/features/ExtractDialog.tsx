import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { Dialog, type FormValue, format, invalid, SchemaForm, SkeletonLines } from "@/kit";
import { defaultsOf } from "@/kit/jsonSchema";

type Sae = components["schemas"]["SaeOut"];
type Wanted = components["schemas"]["ExtractionCreate"];

const BASIC = ["tokenization_id", "cache_id", "name", "settings.n_tokens"];

interface Props {
  sae: Sae;
  open: boolean;
  onClose: () => void;
}

/** An extraction with other tokens or other conventions than the usual ones. */
export function ExtractDialog(props: Props) {
  return (
    <Dialog open={props.open} onClose={props.onClose} title={`Extract features of ${props.sae.name}`} wide>
      <Form {...props} />
    </Dialog>
  );
}

function Form({ sae, onClose }: Props) {
  const schema = useSchema("ExtractionCreate");
  const client = useQueryClient();
  const navigate = useNavigate();
  const [typed, setTyped] = useState<FormValue | null>(null);
  const filter = { query: { model_id: sae.model_id ?? undefined, limit: 200 } };
  const tokenizations = useQuery({
    queryKey: ["tokenizations", "choices", sae.model_id],
    queryFn: ({ signal }) => body(api.GET("/api/v1/tokenizations", { params: filter, signal })),
  });
  const caches = useQuery({
    queryKey: ["activation_caches", "choices", sae.model_id],
    queryFn: ({ signal }) => body(api.GET("/api/v1/activations", { params: filter, signal })),
  });
  if (!schema) return <SkeletonLines />;
  const value = typed ?? defaultsOf(schema.schema, schema.resolve);
  const options = (
    id: string,
    chosen: unknown,
    onChange: (value: unknown) => void,
    error: string | undefined,
    none: string,
    found: [string, string][],
  ) => (
    <select
      id={id}
      className="field"
      value={String(chosen ?? "")}
      onChange={(event) => onChange(event.target.value || null)}
      {...invalid(id, error)}
    >
      <option value="">{none}</option>
      {found.map(([one, words]) => (
        <option key={one} value={one}>
          {words}
        </option>
      ))}
    </select>
  );
  return (
    <SchemaForm
      {...schema}
      value={value}
      onChange={setTyped}
      basic={BASIC}
      widgets={{
        tokenization_id: ({ id, value: chosen, onChange, error }) =>
          options(
            id,
            chosen,
            onChange,
            error,
            sae.training_id ? "those that it was trained on" : "the newest of its model",
            (tokenizations.data?.items ?? [])
              .filter((one) => one.ready)
              .map((one) => [
                one.id,
                `${one.dataset_name} / ${one.name} (${format.figure(one.n_tokens)} tokens)`,
              ]),
          ),
        cache_id: ({ id, value: chosen, onChange, error }) =>
          options(
            id,
            chosen,
            onChange,
            error,
            "one that fits, else the model runs",
            (caches.data?.items ?? [])
              .filter((one) => one.ready && sae.hook !== null && one.hooks.includes(sae.hook))
              .map((one) => [one.id, `${one.name} (${format.figure(one.n_tokens)} activations)`]),
          ),
      }}
      submit="Extract features"
      onCancel={onClose}
      onSubmit={async (wanted) => {
        const made = await body(
          api.POST("/api/v1/saes/{sae_id}/extractions", {
            params: { path: { sae_id: sae.id } },
            body: wanted as unknown as Wanted,
          }),
        );
        void client.invalidateQueries({ queryKey: ["extractions"] });
        await navigate({ to: "/features/$id", params: { id: made.id } });
      }}
    />
  );
}
