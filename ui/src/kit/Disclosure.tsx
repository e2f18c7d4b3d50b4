import { ChevronRight } from "lucide-react";
import { type ReactNode, useId, useState } from "react";

/** What is seldom needed, folded away under its name; `forced` keeps it open (something in it needs attention). */
export function Disclosure({
  label,
  forced,
  children,
}: {
  label: string;
  forced: boolean;
  children: ReactNode;
}) {
  const [open, setOpen] = useState(false);
  const shown = open || forced;
  const id = useId();
  return (
    <div>
      <button
        type="button"
        aria-expanded={shown}
        aria-controls={id}
        onClick={() => setOpen(!shown)}
        className="flex items-center gap-1 rounded-[4px] text-muted hover:text-ink"
      >
        <ChevronRight size={14} className={shown ? "rotate-90" : ""} />
        {label}
      </button>
      <div id={id} hidden={!shown} className="mt-3">
        {shown && children}
      </div>
    </div>
  );
}
