import { useQuery } from "@tanstack/react-query";
import { useId, useRef } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { Field } from "@/kit";

type Column = components["schemas"]["ColumnOut"];
export type Recipe = components["schemas"]["TemplateRecipe"] | components["schemas"]["ChatRecipe"];

export type Choice =
  | { kind: "column"; column: string }
  | { kind: "template"; template: string; name: string }
  | { kind: "chat"; column: string; model_id: string; generation_prompt: boolean; name: string };

/** The recipe that a choice stands for; null where it is a column as it is, or not complete. */
export function recipeOf(choice: Choice): Recipe | null {
  if (choice.kind === "template" && choice.template.trim())
    return { kind: "template", template: choice.template };
  if (choice.kind === "chat" && choice.column && choice.model_id)
    return {
      kind: "chat",
      column: choice.column,
      model_id: choice.model_id,
      generation_prompt: choice.generation_prompt,
    };
  return null;
}

/** A first template that names the columns one would join. */
export function firstTemplate(columns: Column[]): string {
  return columns
    .filter((column) => column.type === "string")
    .map((column) => `{${column.name}}`)
    .slice(0, 4)
    .join("\n\n");
}

const WORDS = {
  column: "one column as it is",
  template: "columns joined by a template",
  chat: "chats, rendered",
};

/** What is the text of a row: a column, several joined, or a chat in a model's chat template. */
export function TextChoice({
  columns,
  chatColumns,
  value,
  onChange,
  kinds = ["column", "template", "chat"],
  errors = {},
}: {
  columns: Column[];
  chatColumns: string[];
  value: Choice;
  onChange: (value: Choice) => void;
  kinds?: Choice["kind"][];
  errors?: Record<string, string>;
}) {
  const id = useId();
  const area = useRef<HTMLTextAreaElement>(null);
  const strings = columns.filter((column) => column.type === "string");
  const offered = kinds.filter(
    (kind) =>
      kind === value.kind ||
      (kind === "chat" ? chatColumns.length > 0 : kind !== "column" || strings.length > 0),
  );
  const turn = (kind: Choice["kind"]) => {
    if (kind === "column") onChange({ kind, column: strings[0]?.name ?? "" });
    else if (kind === "template") onChange({ kind, template: firstTemplate(columns), name: "joined" });
    else
      onChange({
        kind,
        column: chatColumns[0] ?? "",
        model_id: "",
        generation_prompt: false,
        name: "chat text",
      });
  };
  const insert = (column: string) => {
    if (value.kind !== "template") return;
    const from = area.current?.selectionStart ?? value.template.length;
    const to = area.current?.selectionEnd ?? from;
    onChange({
      ...value,
      template: `${value.template.slice(0, from)}{${column}}${value.template.slice(to)}`,
    });
    area.current?.focus();
  };
  return (
    <div className="flex flex-col gap-3">
      <div className="grid gap-x-4 gap-y-3 sm:grid-cols-2">
        {offered.length > 1 && (
          <Field id={`${id}-kind`} label="The text is" hint="What tokenizations read of each row.">
            <select
              id={`${id}-kind`}
              className="field"
              value={value.kind}
              onChange={(event) => turn(event.target.value as Choice["kind"])}
            >
              {offered.map((kind) => (
                <option key={kind} value={kind}>
                  {WORDS[kind]}
                </option>
              ))}
            </select>
          </Field>
        )}
        {value.kind === "column" && (
          <Field id={`${id}-column`} label="Text column" error={errors.text_column}>
            <select
              id={`${id}-column`}
              className="field"
              value={value.column}
              onChange={(event) => onChange({ kind: "column", column: event.target.value })}
            >
              {!value.column && <option value="">choose one</option>}
              {strings.map((column) => (
                <option key={column.name}>{column.name}</option>
              ))}
            </select>
          </Field>
        )}
        {value.kind !== "column" && (
          <Field id={`${id}-name`} label="Name of the new column" error={errors.name}>
            <input
              id={`${id}-name`}
              className="field"
              maxLength={100}
              value={value.name}
              onChange={(event) => onChange({ ...value, name: event.target.value })}
            />
          </Field>
        )}
      </div>
      {value.kind === "template" && (
        <div>
          <Field
            id={`${id}-template`}
            label="Template"
            hint="Columns in braces, as {question}; fields within a column by dots, as {meta.title}; a brace itself doubled."
            error={errors["recipe.template"]}
          >
            <textarea
              ref={area}
              id={`${id}-template`}
              className="field font-mono"
              rows={4}
              maxLength={20_000}
              spellCheck={false}
              value={value.template}
              onChange={(event) => onChange({ ...value, template: event.target.value })}
            />
          </Field>
          <div className="mt-1 flex flex-wrap items-center gap-1">
            <span className="text-xs text-muted">Insert</span>
            {columns.slice(0, 24).map((column) => (
              <button
                key={column.name}
                type="button"
                className="rounded-[4px] border border-line px-1.5 font-mono text-xs hover:bg-hover"
                onClick={() => insert(column.name)}
              >
                {column.name}
              </button>
            ))}
          </div>
        </div>
      )}
      {value.kind === "chat" && (
        <ChatFields id={id} value={value} onChange={onChange} chatColumns={chatColumns} errors={errors} />
      )}
    </div>
  );
}

function ChatFields({
  id,
  value,
  onChange,
  chatColumns,
  errors,
}: {
  id: string;
  value: Extract<Choice, { kind: "chat" }>;
  onChange: (value: Choice) => void;
  chatColumns: string[];
  errors: Record<string, string>;
}) {
  const { data } = useQuery({
    queryKey: ["models", "chat-templates"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/models", { params: { query: { limit: 500 } }, signal })),
  });
  const models = (data?.items ?? []).filter((model) => model.ready && model.has_chat_template);
  return (
    <div className="grid gap-x-4 gap-y-3 sm:grid-cols-2">
      <Field id={`${id}-chats`} label="Column of chats" error={errors["recipe.column"]}>
        <select
          id={`${id}-chats`}
          className="field"
          value={value.column}
          onChange={(event) => onChange({ ...value, column: event.target.value })}
        >
          {chatColumns.map((column) => (
            <option key={column}>{column}</option>
          ))}
        </select>
      </Field>
      <Field
        id={`${id}-model`}
        label="Chat template of"
        hint="A model whose tokenizer has a chat template."
        error={errors["recipe.model_id"]}
      >
        <select
          id={`${id}-model`}
          className="field"
          value={value.model_id}
          onChange={(event) => onChange({ ...value, model_id: event.target.value })}
        >
          <option value="">
            {data && models.length === 0 ? "no model with one is here yet" : "choose a model"}
          </option>
          {models.map((model) => (
            <option key={model.id} value={model.id}>
              {model.name}
            </option>
          ))}
        </select>
      </Field>
      <label className="flex items-center gap-2 sm:col-span-2">
        <input
          type="checkbox"
          className="accent-accent"
          checked={value.generation_prompt}
          onChange={(event) => onChange({ ...value, generation_prompt: event.target.checked })}
        />
        End each chat with the beginning of an answer
      </label>
    </div>
  );
}
