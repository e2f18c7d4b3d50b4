import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { Button, Field, SkeletonLines } from "@/kit";
import { defaultsOf } from "@/kit/jsonSchema";

export type LabellingPrompt = components["schemas"]["LabellingPrompt"];

/** What a chat model is asked for a label: the usual question, or one's own. */
export function PromptFields({
  id,
  value,
  onChange,
}: {
  id: string;
  value: LabellingPrompt | null;
  onChange: (value: LabellingPrompt | null) => void;
}) {
  const schema = useSchema("LabellingPrompt");
  if (!schema) return <SkeletonLines lines={2} />;
  const usual = defaultsOf(schema.schema, schema.resolve) as unknown as LabellingPrompt;
  if (!value)
    return (
      <div id={id} className="flex flex-col items-start gap-1">
        <p className="text-muted">{usual.task}</p>
        <Button onClick={() => onChange(usual)}>Ask otherwise</Button>
      </div>
    );
  const { task, question } = schema.schema.properties ?? {};
  return (
    <div id={id} className="flex flex-col gap-2">
      <Field
        id={`${id}-task`}
        label="Task"
        hint={task?.description ?? ""}
        error={value.task?.trim() ? undefined : "Say what the model is to do."}
      >
        <textarea
          id={`${id}-task`}
          className="field"
          rows={4}
          maxLength={4000}
          value={value.task ?? ""}
          onChange={(event) => onChange({ ...value, task: event.target.value })}
        />
      </Field>
      <Field id={`${id}-question`} label="Question" hint={question?.description ?? ""}>
        <input
          id={`${id}-question`}
          className="field"
          maxLength={1000}
          value={value.question ?? ""}
          onChange={(event) => onChange({ ...value, question: event.target.value })}
        />
      </Field>
      <Button look="quiet" className="self-start" onClick={() => onChange(null)}>
        Ask as usual
      </Button>
    </div>
  );
}
