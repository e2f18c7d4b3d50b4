import { useQuery, useQueryClient } from "@tanstack/react-query";
import { BookmarkPlus } from "lucide-react";
import { useMemo, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import {
  Button,
  Dialog,
  ErrorNote,
  type FormValue,
  format,
  invalid,
  SchemaForm,
  SkeletonLines,
  useSearchParams,
} from "@/kit";
import { defaultsOf, type JsonSchema, resolver } from "@/kit/jsonSchema";
import { SaveTemplate } from "@/templates/SaveTemplate";
import { StartFrom } from "@/templates/StartFrom";
import { type LabellingPrompt, PromptFields } from "./PromptFields";

type Wanted = components["schemas"]["LabellingRunCreate"];
type Extraction = components["schemas"]["ExtractionOut"];

const BASIC = ["source", "model", "prompt", "scope.limit", "scope.only", "scope.order", "score"];

interface Props {
  extraction: Extraction;
  open: boolean;
  onClose: () => void;
}

/** Starts a labelling run. */
export function LabelDialog(props: Props) {
  return (
    <Dialog
      open={props.open}
      onClose={props.onClose}
      title="Label features"
      description="A label made by hand stays in force whatever a machine says."
      wide
    >
      <Form {...props} />
    </Dialog>
  );
}

function Form({ extraction, onClose }: Props) {
  const client = useQueryClient();
  const [, change] = useSearchParams();
  const [typed, setTyped] = useState<FormValue | null>(null);
  const [saving, setSaving] = useState(false);
  const form = useQuery({
    queryKey: ["labelling form"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/labelling/form", { signal })),
  });
  const models = useQuery({
    queryKey: ["models", "choices"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/models", { params: { query: { limit: 200 } }, signal })),
  });
  const schema = useMemo(() => {
    if (!form.data) return null;
    const document = form.data.form as JsonSchema;
    return { schema: document, resolve: resolver(document) };
  }, [form.data]);
  if (form.error) return <ErrorNote error={form.error} onRetry={() => void form.refetch()} />;
  if (!schema || !form.data) return <SkeletonLines />;
  const value = typed ?? defaultsOf(schema.schema, schema.resolve);
  const { sources } = form.data;
  const source = sources.find((one) => one.source === value.source);
  const hidden = ["scope.indices", "template_id"];
  if (value.source === "contrast") hidden.push("model", "examples", "prompt");
  if (value.source !== "openai") hidden.push("concurrency");
  const chat = models.data?.items.filter((one) => one.ready && one.has_chat_template) ?? [];
  return (
    <>
      {value.source !== "contrast" && (
        <div className="mb-4 flex items-start gap-2">
          <StartFrom
            kind="labelling"
            value={value.template_id as string | null | undefined}
            onChange={(template) =>
              setTyped(
                template
                  ? { ...value, ...template.body, template_id: template.id }
                  : { ...value, template_id: null },
              )
            }
          />
          <Button
            className="mt-6"
            icon={<BookmarkPlus size={14} />}
            hint="Keep the prompt and the number of examples under a name"
            onClick={() => setSaving(true)}
          >
            Save as template
          </Button>
        </div>
      )}
      <SaveTemplate
        open={saving}
        onClose={() => setSaving(false)}
        kind="labelling"
        settings={() => ({
          ...(value.prompt ? { prompt: value.prompt } : {}),
          examples: value.examples,
        })}
      />
      <SchemaForm
        {...schema}
        value={value}
        onChange={(next) =>
          // The model of one source means nothing to another, and contrast asks nobody.
          setTyped(
            next.source === value.source
              ? next
              : next.source === "contrast"
                ? { ...next, model: null, prompt: null, template_id: null }
                : { ...next, model: null },
          )
        }
        basic={BASIC}
        hidden={hidden}
        widgets={{
          source: ({ id, value: chosen, onChange, error }) => (
            <select
              id={id}
              className="field"
              value={String(chosen)}
              onChange={(event) => onChange(event.target.value)}
              {...invalid(id, error)}
            >
              {sources.map((one) => (
                <option key={one.source} value={one.source} disabled={!one.available}>
                  {one.title}
                  {one.available ? "" : " (not set up)"}
                </option>
              ))}
            </select>
          ),
          prompt: ({ id, value: chosen, onChange }) => (
            <PromptFields id={id} value={chosen as LabellingPrompt | null} onChange={onChange} />
          ),
          model: ({ id, value: chosen, onChange, error }) =>
            value.source === "local" ? (
              <select
                id={id}
                className="field"
                value={String(chosen ?? "")}
                onChange={(event) => onChange(event.target.value || null)}
                {...invalid(id, error)}
              >
                <option value="">the SAE's own model</option>
                {chat.map((one) => (
                  <option key={one.id} value={one.id}>
                    {one.name}
                  </option>
                ))}
              </select>
            ) : (
              <input
                id={id}
                className="field"
                spellCheck={false}
                placeholder="the endpoint's name for it"
                value={String(chosen ?? "")}
                onChange={(event) => onChange(event.target.value || null)}
                {...invalid(id, error)}
              />
            ),
        }}
        submit="Start labelling"
        onCancel={onClose}
        onSubmit={async (wanted) => {
          const made = await body(
            api.POST("/api/v1/extractions/{extraction_id}/labelling-runs", {
              params: { path: { extraction_id: extraction.id } },
              body: wanted as unknown as Wanted,
            }),
          );
          void client.invalidateQueries({ queryKey: ["labelling_runs"] });
          change({ tab: "labelling", run: made.id, label: undefined }, { push: true });
        }}
      >
        <p className="text-muted">
          {source?.description}
          {sources
            .filter((one) => !one.available && one.why_not)
            .map((one) => ` ${one.title}: ${one.why_not}`)}{" "}
          {format.plural(extraction.labelled, "feature")} of {format.figure(extraction.d_sae)} have a label
          now.
        </p>
      </SchemaForm>
    </>
  );
}
