import { Trash2 } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import { api } from "@/api/client";
import { Problem } from "@/api/problem";
import { Button, format, IconButton, RelativeTime, Section, StateBadge } from "@/kit";
import type { Generation } from "./generations";

const FEW = 12;
const STATES: Record<Generation["state"], string> = {
  waiting: "queued",
  writing: "running",
  done: "succeeded",
  cancelled: "cancelled",
  failed: "failed",
};

/** What the session wrote before; each text opens again with its request. */
export function History({
  all,
  shown,
  onOpen,
  onGone,
}: {
  all: Generation[];
  shown: string | undefined;
  onOpen: (generation: Generation) => void;
  onGone: (id: string) => void;
}) {
  const [many, setMany] = useState(false);
  if (all.length === 0) return null;
  const remove = async (one: Generation) => {
    try {
      await api.DELETE("/api/v1/steering/generations/{generation_id}", {
        params: { path: { generation_id: one.id } },
      });
      onGone(one.id);
    } catch (error) {
      const problem = Problem.from(error);
      toast.error(problem.detail, { description: problem.hint ?? undefined });
    }
  };
  return (
    <Section title="Written in this session">
      <ul className="border-t border-line">
        {(many ? all : all.slice(0, FEW)).map((one) => (
          <li
            key={one.id}
            className={`flex items-center gap-2 border-b border-line/60 ${one.id === shown ? "bg-accent-wash" : "hover:bg-hover"}`}
          >
            <button
              type="button"
              aria-current={one.id === shown || undefined}
              onClick={() => onOpen(one)}
              className="flex h-7 min-w-0 flex-1 items-center gap-3 rounded-[3px] px-2 text-left"
            >
              <span className="w-20 shrink-0 text-xs text-muted">
                <RelativeTime at={one.created_at} />
              </span>
              <span className="w-20 shrink-0 text-xs">
                <StateBadge state={STATES[one.state]} word={one.state} />
              </span>
              <span className="w-44 shrink-0 truncate text-xs">
                {one.features.map((feature) => words(feature)).join(", ")}
              </span>
              <span className="min-w-0 flex-1 truncate text-muted">
                {one.outputs.steered?.text?.trim() || one.request.prompt}
              </span>
            </button>
            <IconButton label="Delete this text" size="size-6" onClick={() => void remove(one)}>
              <Trash2 size={13} />
            </IconButton>
          </li>
        ))}
      </ul>
      {all.length > FEW && (
        <Button look="quiet" className="mt-1" onClick={() => setMany(!many)}>
          {many ? "Show fewer" : `Show all ${all.length}`}
        </Button>
      )}
    </Section>
  );
}

function words(feature: Generation["features"][number]): string {
  const strength = `${format.exact(feature.strength)}${feature.unit === "max" ? "× max" : ""}`;
  return `#${feature.index} ${feature.mode === "clamp" ? "= " : ""}${strength}`;
}
