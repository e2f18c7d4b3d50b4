import { Trash2 } from "lucide-react";
import { toast } from "sonner";
import { api } from "@/api/client";
import { Problem } from "@/api/problem";
import { IconButton, RelativeTime, Section, StateBadge } from "@/kit";
import type { ModelRequest } from "./playground";

const STATES: Record<ModelRequest["state"], string> = {
  waiting: "queued",
  writing: "running",
  done: "succeeded",
  cancelled: "cancelled",
  failed: "failed",
};

/** What was asked before; the newest hundred are kept. */
export function RequestHistory({
  all,
  shown,
  onOpen,
  onGone,
}: {
  all: ModelRequest[];
  shown: string | undefined;
  onOpen: (one: ModelRequest) => void;
  onGone: (id: string) => void;
}) {
  if (all.length === 0) return null;
  const remove = async (one: ModelRequest) => {
    try {
      await api.DELETE("/api/v1/models/{model_id}/requests/{request_id}", {
        params: { path: { model_id: one.model_id, request_id: one.id } },
      });
      onGone(one.id);
    } catch (thrown) {
      toast.error(Problem.from(thrown).detail);
    }
  };
  return (
    <Section title="Asked before">
      <ul className="flex flex-col">
        {all.map((one) => {
          const asked = one.request.prompt ?? one.request.messages?.at(-1)?.content ?? "";
          return (
            <li
              key={one.id}
              className={`flex items-center gap-3 border-t border-line px-1 ${one.id === shown ? "bg-accent-wash" : "hover:bg-hover"}`}
            >
              <button
                type="button"
                className="flex min-w-0 flex-1 items-center gap-3 py-1 text-left"
                onClick={() => onOpen(one)}
              >
                <span className="min-w-0 truncate">{asked}</span>
                {one.generation?.text && (
                  <span className="min-w-0 flex-1 truncate text-muted">{one.generation.text}</span>
                )}
              </button>
              <StateBadge state={STATES[one.state]} word={one.state} />
              <span className="w-24 shrink-0 text-right text-xs text-muted">
                <RelativeTime at={one.created_at} />
              </span>
              <IconButton label="Delete" size="size-6" onClick={() => void remove(one)}>
                <Trash2 size={13} />
              </IconButton>
            </li>
          );
        })}
      </ul>
    </Section>
  );
}
