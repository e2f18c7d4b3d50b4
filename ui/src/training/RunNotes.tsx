import { useQueryClient } from "@tanstack/react-query";
import { X } from "lucide-react";
import { useEffect, useId, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { Training } from "./form";

/** Tags and notes of a run, kept when the field is left. */
export function RunNotes({ training }: { training: Pick<Training, "id" | "tags" | "notes"> }) {
  const client = useQueryClient();
  const field = useId();
  const [tag, setTag] = useState("");
  const [notes, setNotes] = useState(training.notes);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another run has other notes, even when they are equal.
  useEffect(() => setNotes(training.notes), [training.id, training.notes]);
  const save = async (change: { tags?: string[]; notes?: string }) => {
    try {
      await body(
        api.PATCH("/api/v1/trainings/{training_id}", {
          params: { path: { training_id: training.id } },
          body: change,
        }),
      );
      await client.invalidateQueries({ queryKey: ["trainings"] });
    } catch (error) {
      const problem = Problem.from(error);
      toast.error(problem.detail, { description: problem.hint ?? undefined });
    }
  };
  const add = () => {
    const wanted = tag.trim();
    if (wanted && !training.tags.includes(wanted)) void save({ tags: [...training.tags, wanted] });
    setTag("");
  };
  return (
    <div className="flex flex-col gap-3">
      <div>
        <label htmlFor={`${field}-tag`} className="mb-1 block text-xs text-muted">
          Tags
        </label>
        <div className="flex flex-wrap items-center gap-1">
          {training.tags.map((one) => (
            <span key={one} className="flex items-center gap-0.5 rounded-[4px] bg-sunken pl-1.5 text-xs">
              {one}
              <button
                type="button"
                aria-label={`Take the tag ${one} away`}
                className="grid size-6 place-items-center rounded-[3px] text-muted hover:text-ink"
                onClick={() => void save({ tags: training.tags.filter((other) => other !== one) })}
              >
                <X size={11} />
              </button>
            </span>
          ))}
          <input
            id={`${field}-tag`}
            className="field w-28"
            placeholder="add one"
            maxLength={64}
            value={tag}
            onChange={(event) => setTag(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter") add();
            }}
            onBlur={add}
          />
        </div>
      </div>
      <div>
        <label htmlFor={`${field}-notes`} className="mb-1 block text-xs text-muted">
          Notes
        </label>
        <textarea
          id={`${field}-notes`}
          className="field h-auto min-h-20 w-full py-1"
          maxLength={20_000}
          value={notes}
          onChange={(event) => setNotes(event.target.value)}
          onBlur={() => {
            if (notes !== training.notes) void save({ notes });
          }}
        />
      </div>
    </div>
  );
}
