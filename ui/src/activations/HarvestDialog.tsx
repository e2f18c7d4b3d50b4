import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useDeferredValue, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { Dialog, ErrorNote, type FormValue, format, invalid, SchemaForm, SkeletonLines } from "@/kit";
import { defaultsOf, problemsOf } from "@/kit/jsonSchema";
import { HookPicker } from "./HookPicker";

type Cache = components["schemas"]["CacheOut"];
type Model = components["schemas"]["ModelOut"];
type Wanted = components["schemas"]["CacheCreate"];

const BASIC = ["tokenization_id", "hooks", "dtype", "settings.n_tokens"];

interface Props {
  model: Model;
  open: boolean;
  onClose: () => void;
  onMade: (made: Cache) => void;
}

/** What to harvest, and what it will take. */
export function HarvestDialog(props: Props) {
  return (
    <Dialog
      open={props.open}
      onClose={props.onClose}
      title={`Harvest activations of ${props.model.name}`}
      wide
    >
      <Form {...props} />
    </Dialog>
  );
}

function Form({ model, onClose, onMade }: Props) {
  const schema = useSchema("CacheCreate");
  const client = useQueryClient();
  const tokenizations = useQuery({
    queryKey: ["tokenizations", "choices", model.id],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/tokenizations", { params: { query: { model_id: model.id, limit: 200 } }, signal }),
      ),
  });
  const ready = tokenizations.data?.items.filter((one) => one.ready) ?? [];
  const [typed, setTyped] = useState<FormValue | null>(null);
  if (tokenizations.error)
    return <ErrorNote error={tokenizations.error} onRetry={() => void tokenizations.refetch()} />;
  if (!schema || !tokenizations.data) return <SkeletonLines />;
  const value = typed ?? {
    ...defaultsOf(schema.schema, schema.resolve),
    tokenization_id: ready[0]?.id,
    hooks: [],
  };
  const valid = Object.keys(problemsOf(schema.schema, value, schema.resolve)).length === 0;
  return (
    <SchemaForm
      {...schema}
      value={value}
      onChange={setTyped}
      basic={BASIC}
      widgets={{
        tokenization_id: ({ id, value: chosen, onChange, error }) => (
          <select
            id={id}
            className="field"
            value={String(chosen ?? "")}
            onChange={(event) => onChange(event.target.value)}
            {...invalid(id, error)}
          >
            {ready.length === 0 && <option value="">Tokenize a data set with this model first</option>}
            {ready.map((one) => (
              <option key={one.id} value={one.id}>
                {one.dataset_name} / {one.name} ({format.figure(one.n_tokens)} tokens)
              </option>
            ))}
          </select>
        ),
        hooks: (input) => <HookPicker {...input} points={model.hook_points} />,
      }}
      submit="Harvest"
      onCancel={onClose}
      onSubmit={async (wanted) => {
        const made = await body(api.POST("/api/v1/activations", { body: wanted as unknown as Wanted }));
        await client.invalidateQueries({ queryKey: ["activation_caches"] });
        onMade(made);
      }}
    >
      {valid && <Forecast wanted={value as unknown as Wanted} />}
    </SchemaForm>
  );
}

/** Disk, memory and time, before the start. */
function Forecast({ wanted }: { wanted: Wanted }) {
  const settled = useDeferredValue(wanted);
  const forecast = useQuery({
    queryKey: ["activation_caches", "forecast", settled],
    queryFn: ({ signal }) => body(api.POST("/api/v1/activations/forecast", { body: settled, signal })),
    placeholderData: keepPreviousData,
    gcTime: 30_000,
  });
  if (forecast.error) return <ErrorNote error={forecast.error} />;
  const data = forecast.data;
  if (!data) return <SkeletonLines lines={1} />;
  const parts: [string, string, boolean][] = [
    ["Activations", `${format.figure(data.n_tokens)} tokens`, false],
    [
      "Disk",
      `${format.bytes(data.bytes)} of ${format.bytes(data.bytes_free)} free`,
      data.bytes > data.bytes_free,
    ],
    [
      "Memory",
      `${format.bytes(data.memory_bytes)} of ${format.bytes(data.memory_available)} free`,
      data.memory_bytes > data.memory_available,
    ],
    [
      "Time",
      data.seconds === null ? "known after the first harvest" : `about ${format.duration(data.seconds)}`,
      false,
    ],
  ];
  return (
    <section
      aria-label="Forecast"
      className="grid grid-cols-2 gap-3 rounded-[6px] border border-line bg-surface p-3 sm:grid-cols-4"
    >
      {parts.map(([name, words, short]) => (
        <div key={name}>
          <div className="text-2xs text-muted">{name}</div>
          <div className={short ? "font-medium text-failed" : ""}>
            {words}
            {short && " (too little)"}
          </div>
        </div>
      ))}
    </section>
  );
}
