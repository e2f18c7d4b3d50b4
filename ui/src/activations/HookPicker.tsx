import { X } from "lucide-react";
import { useState } from "react";
import type { components } from "@/api/schema";
import { invalid } from "@/kit";

type HookPoint = components["schemas"]["HookPointOut"];

/** Chooses hook points by layer and kind; what is chosen stands beneath, to be taken away again. */
export function HookPicker({
  id,
  value,
  onChange,
  error,
  points,
}: {
  id: string;
  value: unknown;
  onChange: (value: unknown) => void;
  error: string | undefined;
  points: HookPoint[];
}) {
  const chosen = (value as string[] | undefined) ?? [];
  const kinds = [...new Set(points.map((point) => point.kind))];
  const [kind, setKind] = useState(kinds.includes("resid_post") ? "resid_post" : (kinds[0] ?? ""));
  const choices = points.filter((point) => point.kind === kind);
  return (
    <div className="flex flex-col gap-2">
      <div className="flex gap-2">
        <select
          aria-label="Kind of hook point"
          className="field max-w-44"
          value={kind}
          onChange={(event) => setKind(event.target.value)}
        >
          {kinds.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
        <select
          id={id}
          className="field"
          value=""
          onChange={(event) => event.target.value && onChange([...chosen, event.target.value])}
          {...invalid(id, error)}
        >
          <option value="">add a hook point…</option>
          {choices
            .filter((point) => !chosen.includes(point.name))
            .map((point) => (
              <option key={point.name} value={point.name}>
                {point.name} ({point.d} wide)
              </option>
            ))}
        </select>
      </div>
      {chosen.length > 0 && (
        <ul className="flex flex-wrap gap-1.5">
          {chosen.map((hook) => (
            <li key={hook} className="flex items-center rounded-[4px] bg-accent-wash pl-1.5">
              <code>{hook}</code>
              <button
                type="button"
                aria-label={`Remove ${hook}`}
                className="ml-1 rounded-[4px] p-1 text-muted hover:text-ink"
                onClick={() => onChange(chosen.filter((one) => one !== hook))}
              >
                <X size={12} />
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
