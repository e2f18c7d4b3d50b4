import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useSettled } from "@/datasets/useSettled";
import { Button, Dialog, type FormValue, SchemaForm, SkeletonLines, tip, type Widget } from "@/kit";
import { defaultsOf, fieldOf, type JsonSchema, type Resolve, resolver, titleAt } from "@/kit/jsonSchema";
import type { Several } from "@/kit/severalValues";
import { Chat } from "@/models/Prompt";
import { AcrossKinds } from "@/training/AcrossKinds";
import { fitting, gridName, gridProblems } from "@/training/grid";
import { KINDS } from "@/training/words";
import type { Kind } from "./kinds";
import type { Template } from "./StartFrom";

type Message = components["schemas"]["ChatMessage"];

/** What is shown at once; the rest stands under Advanced. */
const BASIC: Record<string, string[]> = {
  extraction: ["body.hooks", "body.dtype", "body.settings.n_tokens"],
  training: [
    "body.config.architecture",
    "body.config.d_sae",
    "body.config.total_tokens",
    "body.config.batch_size",
    "body.config.learning_rate",
  ],
  labelling: ["body.prompt", "body.examples"],
  steering: [
    "body.prompt",
    "body.messages",
    "body.max_new_tokens",
    "body.temperature",
    "body.top_p",
    "body.seed",
  ],
};

interface Props {
  open: boolean;
  onClose: () => void;
  /** Null: a new one. */
  template: Template | null;
  kinds: Kind[];
}

/** Changes a template, or makes one from nothing, checked while one types by the schema of its kind. */
export function EditTemplate(props: Props) {
  const { template } = props;
  return (
    <Dialog
      open={props.open}
      onClose={props.onClose}
      title={template ? `Edit “${template.name}”` : "New template"}
      wide
    >
      <Form {...props} />
    </Dialog>
  );
}

function Form({ template, kinds, onClose }: Props) {
  const client = useQueryClient();
  const [chosen, setKind] = useState<string | null>(template?.kind ?? null);
  const kind = chosen ?? kinds[0]?.name ?? "";
  const form = kinds.find((one) => one.name === kind)?.form as JsonSchema | undefined;
  const resolve = useMemo(() => resolver(form ?? {}), [form]);
  const [typed, setTyped] = useState<FormValue | null>(null);
  const settled = useSettled(typed?.body ?? null);
  const check = useQuery({
    queryKey: ["templates", "check", kind, settled],
    enabled: settled !== null && kind !== "",
    placeholderData: keepPreviousData,
    gcTime: 0,
    queryFn: ({ signal }) =>
      body(
        api.POST("/api/v1/templates/check", {
          body: { kind, body: settled as Record<string, unknown> },
          signal,
        }),
      ),
  });
  const wrong = typed === null ? [] : Object.entries(check.data?.errors ?? {});
  if (!form) return <SkeletonLines lines={6} />;
  const schema: JsonSchema = {
    type: "object",
    required: ["name", "body"],
    properties: {
      name: { type: "string", title: "Name", minLength: 1, maxLength: 200 },
      description: {
        type: "string",
        title: "Description",
        description: "What it is good for.",
        maxLength: 5000,
        default: "",
      },
      favourite: {
        type: "boolean",
        title: "Favourite",
        description: "Listed before the others.",
        default: false,
      },
      body: { allOf: [form], title: "Settings" },
    },
  };
  const value: FormValue =
    typed ??
    (template
      ? {
          name: template.name,
          description: template.description,
          favourite: template.favourite,
          body: template.body,
        }
      : defaultsOf(schema, resolve));
  const change = (next: FormValue) => setTyped(kind === "training" ? withFittingGrid(next) : next);
  return (
    <>
      {!template && (
        <label className="mb-4 block">
          <span className="mb-1 block text-xs text-muted">Kind</span>
          <select
            className="field"
            value={kind}
            onChange={(event) => {
              setKind(event.target.value);
              setTyped(null);
            }}
          >
            {kinds.map((one) => (
              <option key={one.name} value={one.name}>
                {one.title}
              </option>
            ))}
          </select>
        </label>
      )}
      <SchemaForm
        schema={schema}
        resolve={resolve}
        value={value}
        onChange={change}
        basic={["name", "favourite", "description", ...(BASIC[kind] ?? ["body"])]}
        kinds={Object.fromEntries(Object.entries(KINDS).map(([path, names]) => [`body.${path}`, names]))}
        hidden={["body.config.skip_connection", "body.grid"]}
        {...(kind === "training" ? { several: gridFields(form, resolve, value, change) } : {})}
        widgets={{
          "body.hooks": Patterns,
          "body.prompt.task": Task,
          ...(kind === "steering" ? STEERING : {}),
        }}
        submit={template ? "Save changes" : "Save template"}
        onCancel={onClose}
        onSubmit={async (wanted) => {
          const change = wanted as { name: string; description: string; favourite: boolean };
          const settings = wanted.body as Record<string, unknown>;
          if (template)
            await body(
              api.PATCH("/api/v1/templates/{template_id}", {
                params: { path: { template_id: template.id } },
                body: { ...change, body: settings },
              }),
            );
          else await body(api.POST("/api/v1/templates", { body: { ...change, kind, body: settings } }));
          await client.invalidateQueries({ queryKey: ["templates"] });
          toast.success(`Template “${change.name}” saved`);
          onClose();
        }}
      >
        {wrong.length > 0 && (
          <div
            role="status"
            aria-label="What would be refused"
            className="sticky bottom-9 z-10 rounded-[5px] border border-line bg-sunken px-2.5 py-1.5"
          >
            <p className="text-failed">These settings would be refused:</p>
            <ul>
              {wrong.map(([path, words]) => (
                <li key={path}>
                  {path !== "body" && (
                    <>
                      <span {...tip(path.replace(/^body\./, ""))}>
                        {titleAt(path.replace(/^body\./, ""), part(value, "body"), form, resolve)}
                      </span>
                      :{" "}
                    </>
                  )}
                  {words}
                </li>
              ))}
            </ul>
          </div>
        )}
      </SchemaForm>
    </>
  );
}

type Grid = Record<string, unknown[]>;

const part = (value: FormValue, name: string) => (value[name] ?? {}) as FormValue;

/** A template without the values to try that its architecture, optimiser and so on do not have. */
function withFittingGrid(value: FormValue): FormValue {
  const body = part(value, "body");
  const grid = fitting((body.grid ?? {}) as Grid, part(body, "config"));
  return { ...value, body: { ...body, grid } };
}

/** Lets hyperparameters of a training's template take several values. */
function gridFields(
  form: JsonSchema,
  resolve: Resolve,
  value: FormValue,
  onChange: (value: FormValue) => void,
): Several {
  const body = part(value, "body");
  const grid = (body.grid ?? {}) as Grid;
  const config = fieldOf(form.properties?.config ?? {}, resolve).schema;
  const keep = (values: Grid) => onChange({ ...value, body: { ...body, grid: values } });
  const problems = gridProblems(grid, part(body, "config"), config, resolve);
  return {
    nameOf: (path) => (path.startsWith("body.") ? gridName(path.slice(5)) : null),
    values: grid,
    onChange: keep,
    problems: Object.fromEntries(Object.entries(problems).map(([path, words]) => [`body.${path}`, words])),
    across: { "body.config.architecture": <AcrossKinds grid={grid} onChange={keep} /> },
  };
}

/** What a model is told to do: some sentences. */
const Task: Widget = ({ id, value, onChange, error }) => (
  <textarea
    id={id}
    className="field"
    rows={5}
    maxLength={4000}
    aria-invalid={error ? true : undefined}
    value={String(value ?? "")}
    onChange={(event) => onChange(event.target.value)}
  />
);

/** A text to continue; nothing where a chat is written instead. */
const Continued: Widget = ({ id, value, onChange, error }) => (
  <textarea
    id={id}
    className="field"
    rows={3}
    placeholder="Text to continue. Leave it empty to write a chat below."
    aria-invalid={error ? true : undefined}
    value={String(value ?? "")}
    onChange={(event) => onChange(event.target.value || null)}
  />
);

/** The turns of a chat, or a button to begin one. */
const Turns: Widget = ({ id, value, onChange }) => {
  const messages = (value as Message[] | null | undefined) ?? null;
  if (!messages)
    return <Button onClick={() => onChange([{ role: "user", content: "" }])}>Write a chat instead</Button>;
  return (
    <div className="flex flex-col items-start gap-1">
      <div className="w-full">
        <Chat id={id} messages={messages} onChange={onChange} />
      </div>
      <Button look="quiet" onClick={() => onChange(null)}>
        No chat
      </Button>
    </div>
  );
};

const STEERING: Record<string, Widget> = { "body.prompt": Continued, "body.messages": Turns };

/** Hook points and patterns, one a line. */
const Patterns: Widget = ({ id, value, onChange, error }) => (
  <textarea
    id={id}
    className="field"
    rows={3}
    spellCheck={false}
    placeholder={"blocks.*/3.hook_resid_post\nblocks.50%.hook_mlp_out"}
    aria-invalid={error ? true : undefined}
    defaultValue={((value as string[] | undefined) ?? []).join("\n")}
    onChange={(event) =>
      onChange(
        event.target.value
          .split(/[\s,]+/)
          .map((line) => line.trim())
          .filter(Boolean),
      )
    }
  />
);
