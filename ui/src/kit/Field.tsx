import { CircleHelp } from "lucide-react";
import type { ReactNode } from "react";
import { tip } from "./Tip";

/** A labelled field with its explanation in a tooltip and its error beneath. `id` names the input. */
export function Field({
  id,
  label,
  hint,
  error,
  unit,
  needed,
  actions,
  children,
}: {
  id: string;
  label: string;
  hint?: string;
  error?: string;
  unit?: string;
  needed?: boolean;
  /** Small buttons at the end of the label's line. */
  actions?: ReactNode;
  children: ReactNode;
}) {
  return (
    <div className="min-w-0">
      <div className="mb-1 flex min-h-5 items-center gap-1 text-xs text-muted">
        <label htmlFor={id} className="truncate">
          {label}
          {unit && <span className="text-faint"> ({unit})</span>}
          {needed && <span className="text-faint"> · needed</span>}
        </label>
        {hint && (
          <button
            type="button"
            aria-label="Explanation"
            className="rounded-full text-faint hover:text-ink"
            {...tip(hint)}
          >
            <CircleHelp size={12} />
          </button>
        )}
        {actions && <span className="ml-auto flex items-center">{actions}</span>}
      </div>
      {children}
      {error && (
        <div id={`${id}-error`} className="mt-1 text-xs text-failed">
          {error}
        </div>
      )}
    </div>
  );
}

/** What an input of a `Field` says about its error. */
export function invalid(id: string, error: string | undefined): Record<string, string | boolean> {
  return error ? { "aria-invalid": true, "aria-describedby": `${id}-error` } : {};
}
