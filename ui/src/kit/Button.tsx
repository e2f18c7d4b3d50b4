import type { ButtonHTMLAttributes, ReactNode, Ref } from "react";
import { tip } from "./Tip";

type Look = "primary" | "plain" | "quiet" | "danger";

const LOOKS: Record<Look, string> = {
  primary: "bg-accent text-accent-ink hover:brightness-110 border-transparent font-medium",
  plain: "bg-surface border-line-strong hover:bg-hover",
  quiet: "border-transparent text-muted hover:bg-hover hover:text-ink",
  danger: "bg-failed text-failed-ink border-transparent hover:brightness-110 font-medium",
};

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: Look;
  icon?: ReactNode;
  /** Work is under way: the button waits, and says so to screen readers. */
  busy?: boolean;
  /** A tooltip, with the key that does the same. */
  hint?: string;
  ref?: Ref<HTMLButtonElement>;
  /** Height and padding, as classes; an icon alone is a square. */
  size?: string;
}

export function Button({
  look = "plain",
  icon,
  busy,
  hint,
  children,
  className = "",
  size = "h-7 px-2.5",
  ...rest
}: ButtonProps) {
  return (
    <button
      type="button"
      {...tip(hint)}
      {...rest}
      // Not disabled while it is busy: that would take the keyboard's focus away from it.
      onClick={busy ? (event) => event.preventDefault() : rest.onClick}
      aria-disabled={busy || undefined}
      aria-busy={busy || undefined}
      className={`inline-flex shrink-0 items-center justify-center gap-1.5 rounded-[5px] border ${size} text-sm whitespace-nowrap select-none disabled:cursor-default disabled:opacity-50 aria-disabled:cursor-default aria-disabled:opacity-50 ${LOOKS[look]} ${className}`}
    >
      {icon}
      {children}
    </button>
  );
}

/** A button that is only an icon: the label is its name and its tooltip. */
export function IconButton({
  label,
  children,
  size = "size-7",
  ...rest
}: Omit<ButtonProps, "icon" | "hint"> & { label: string }) {
  return (
    <Button look="quiet" hint={label} aria-label={label} size={size} {...rest}>
      {children}
    </Button>
  );
}
