import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { useRefetchOn } from "@/api/useChannel";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobBanner } from "@/jobs/JobState";
import { Button, format, IconButton, Section, tip } from "@/kit";
import { ComposeDialog } from "./ComposeDialog";
import type { Dataset } from "./DatasetFacts";
import { shortType } from "./PreviewPanel";

type Composed = components["schemas"]["ComposedColumnOut"];

/** The columns with their types; which of them is the text; columns composed from others. */
export function Columns({ dataset, onText }: { dataset: Dataset; onText: (column: string) => void }) {
  const client = useQueryClient();
  const [composing, setComposing] = useState(false);
  const at = { params: { path: { dataset_id: dataset.id } } };
  const { data: composed = [] } = useQuery({
    queryKey: ["datasets", dataset.id, "columns"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/datasets/{dataset_id}/columns", { ...at, signal })),
  });
  useRefetchOn("composed_columns", ["datasets", dataset.id]);
  const remove = async (column: Composed) => {
    try {
      await api.DELETE("/api/v1/datasets/{dataset_id}/columns/{key}", {
        params: { path: { dataset_id: dataset.id, key: column.id } },
      });
    } catch (error) {
      toast.error(Problem.from(error).detail);
    }
    await client.invalidateQueries({ queryKey: ["datasets", dataset.id] });
  };
  const byId = new Map(composed.map((column) => [column.id, column]));
  return (
    <Section
      title="Columns"
      actions={
        <Button icon={<Plus size={14} />} onClick={() => setComposing(true)}>
          Compose a column
        </Button>
      }
    >
      <table className="w-full text-left">
        <thead className="text-xs text-muted">
          <tr className="border-b border-line">
            <th className="w-14 py-1 font-normal">
              <span {...tip("What tokenizations made from now on read")}>Text</span>
            </th>
            <th className="font-normal">Column</th>
            <th className="font-normal">Type</th>
            <th className="w-8">
              <span className="sr-only">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {dataset.columns.map((column) => {
            const made = column.composed ? byId.get(column.composed) : undefined;
            return (
              <tr key={column.name} className="h-7 border-b border-line/60">
                <td>
                  {column.type === "string" && (
                    <input
                      type="radio"
                      name="text-column"
                      aria-label={`${column.name} is the text`}
                      className="accent-accent"
                      checked={dataset.text_column === column.name}
                      onChange={() => onText(column.name)}
                    />
                  )}
                </td>
                <td className="min-w-0 pr-3">
                  <code className="break-all">{column.name}</code>
                  {made && (
                    <span className="ml-2 text-xs text-muted" {...tip(recipeWords(made.recipe))}>
                      composed · {format.bytes(made.bytes)}
                    </span>
                  )}
                </td>
                <td className="text-muted" {...tip(column.type)}>
                  {shortType(column.type)}
                </td>
                <td>
                  {made && (
                    <IconButton
                      label={`Delete the column ${column.name}`}
                      size="size-6"
                      onClick={() => void remove(made)}
                    >
                      <Trash2 size={13} />
                    </IconButton>
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {composed
        .filter((column) => !column.ready)
        .map((column) => (
          <div key={column.id} className="flex items-center gap-2 border-b border-line/60 py-1">
            <code>{column.name}</code>
            <div className="min-w-0 flex-1">
              <JobBanner job={column.job} onCancel={cancelJob} onRetry={retryJob} />
            </div>
            <IconButton label={`Delete the column ${column.name}`} onClick={() => void remove(column)}>
              <Trash2 size={13} />
            </IconButton>
          </div>
        ))}
      <ComposeDialog open={composing} onClose={() => setComposing(false)} dataset={dataset} />
    </Section>
  );
}

function recipeWords(recipe: Composed["recipe"]): string {
  return recipe.kind === "template"
    ? recipe.template
    : `Chats of ${recipe.column}, by a model's chat template`;
}
