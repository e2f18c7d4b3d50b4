import { X } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import { type ReactNode, useLayoutEffect, useRef, useState } from "react";
import { Button, IconButton } from "./Button";
import { ErrorNote } from "./states";
import { cutTip } from "./Tip";

/**
 * A modal dialog: Escape closes it and focus returns to what opened it. The scrim is our own element, since Radix's
 * overlay locks scrolling by writing a <style> tag, which the page's policy refuses (and nothing scrolls behind it).
 */
export function Dialog({
  open,
  onClose,
  title,
  description,
  wide = false,
  children,
}: {
  open: boolean;
  onClose: () => void;
  title: string;
  description?: string;
  /** `page`: as much as the window has, for what one works in. */
  wide?: boolean | "page";
  children: ReactNode;
}) {
  const focus = useFocusReturn();
  return (
    <Radix.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Radix.Portal>
        <div className="fixed inset-0 z-40 bg-scrim" />
        <Radix.Content
          data-modal=""
          onCloseAutoFocus={focus.giveBack}
          onOpenAutoFocus={(event) => {
            focus.take();
            // Into what one came to fill in, rather than onto the cross.
            const content = event.currentTarget as HTMLElement;
            const first =
              content.querySelector<HTMLElement>(
                "[data-body] :is(input, select, textarea, [role=tab][data-state=active])",
              ) ?? content.querySelector<HTMLElement>("[data-body] button");
            event.preventDefault();
            // Where the fields are still loading, the dialog itself: the cross would show its tip.
            (first ?? content).focus();
          }}
          {...(description ? {} : { "aria-describedby": undefined })}
          className={`fixed top-[8vh] left-1/2 z-40 flex max-h-[84vh] w-[calc(100vw-24px)] -translate-x-1/2 flex-col rounded-[9px] border border-line bg-raised shadow-pop outline-none ${wide === "page" ? "max-w-[1280px]" : wide ? "max-w-[760px]" : "max-w-[520px]"}`}
        >
          <div className="flex items-start gap-3 border-b border-line py-2 pr-2 pl-4">
            <div className="min-w-0 flex-1 py-1">
              <Radix.Title className="text-lg font-semibold break-words">{title}</Radix.Title>
              {description && <Radix.Description className="text-muted">{description}</Radix.Description>}
            </div>
            <Radix.Close asChild>
              <IconButton label="Close (Esc)">
                <X size={16} />
              </IconButton>
            </Radix.Close>
          </div>
          <div data-body="" className="min-h-0 scroll-pb-16 overflow-y-auto p-4">
            {children}
          </div>
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

/** Radix returns focus to its own trigger; our dialogs are opened from anywhere, so they note who had it. */
export function useFocusReturn(): { take: () => void; giveBack: (event: Event) => void } {
  const opener = useRef<HTMLElement | null>(null);
  return {
    take: () => {
      const active = document.activeElement instanceof HTMLElement ? document.activeElement : null;
      // An item of a menu is gone with it: the button that opened the menu stays.
      const trigger = active?.closest("[role=menu]")?.getAttribute("aria-labelledby");
      opener.current = trigger ? document.getElementById(trigger) : active;
    },
    giveBack: (event) => {
      event.preventDefault();
      if (opener.current?.isConnected) opener.current.focus();
    },
  };
}

/** Asks before something is lost, naming what goes. Stays open with the reason when it fails. */
export function ConfirmDialog({
  open,
  onClose,
  title,
  children,
  action,
  onConfirm,
}: {
  open: boolean;
  onClose: () => void;
  title: string;
  children: ReactNode;
  /** The verb on the button: "Delete data set". */
  action: string;
  onConfirm: () => Promise<unknown>;
}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const close = () => {
    setError(null);
    onClose();
  };
  const confirm = async () => {
    setBusy(true);
    setError(null);
    try {
      await onConfirm();
      close();
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog open={open} onClose={close} title={title}>
      <div className="flex flex-col gap-3">
        <div>{children}</div>
        {error !== null && <ErrorNote error={error} />}
        <div className="flex justify-end gap-2">
          <Button onClick={close}>Keep</Button>
          <Button look="danger" busy={busy} onClick={confirm}>
            {action}
          </Button>
        </div>
      </div>
    </Dialog>
  );
}

/** A panel at the right for what is selected in a list. It leaves the list usable. */
export function SidePanel({
  title,
  onClose,
  actions,
  children,
}: {
  title: ReactNode;
  onClose: () => void;
  actions?: ReactNode;
  children: ReactNode;
}) {
  const panel = useRef<HTMLElement>(null);
  // Gone with what it showed, it leaves the keyboard in the list beside it.
  useLayoutEffect(() => {
    const element = panel.current;
    return () => {
      if (element?.contains(document.activeElement))
        element.parentElement?.querySelector<HTMLElement>("[role=grid]")?.focus();
    };
  }, []);
  return (
    <aside
      ref={panel}
      aria-label="Preview"
      className="absolute inset-y-0 right-0 z-20 flex w-full max-w-[440px] shrink-0 flex-col border-l border-line bg-surface lg:static lg:w-[380px] 2xl:w-[440px]"
    >
      <div className="flex h-10 items-center gap-2 border-b border-line pr-1.5 pl-4">
        <h2
          className="min-w-0 flex-1 truncate font-semibold"
          {...(typeof title === "string" ? cutTip(title) : {})}
        >
          {title}
        </h2>
        {actions}
        <IconButton label="Close (Esc)" onClick={onClose}>
          <X size={16} />
        </IconButton>
      </div>
      <div className="min-h-0 flex-1 overflow-y-auto p-4">{children}</div>
    </aside>
  );
}
