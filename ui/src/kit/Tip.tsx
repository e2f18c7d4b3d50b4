import { useEffect, useState } from "react";
import { createPortal } from "react-dom";

/**
 * Tooltips for everything, also for thousands of cells and tokens: an element says what its tip is in attributes,
 * and this one layer shows it on hover and on keyboard focus. Mounted once, in the shell.
 */
export function tip(text: string | null | undefined, formula?: string | null): Record<string, string> {
  if (!text) return {};
  return formula ? { "data-tip": text, "data-tip-formula": formula } : { "data-tip": text };
}

interface Shown {
  text: string;
  formula: string | null;
  left: number;
  top: number;
  above: boolean;
}

export function TipLayer() {
  const [shown, setShown] = useState<Shown | null>(null);
  useEffect(() => {
    let target: HTMLElement | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hide = () => {
      clearTimeout(timer);
      target?.removeAttribute("aria-describedby");
      target = null;
      setShown(null);
    };
    const show = (element: HTMLElement, delay: number) => {
      if (element === target) return;
      const warm = target !== null;
      hide();
      target = element;
      timer = setTimeout(
        () => {
          if (!element.isConnected) return hide();
          const box = element.getBoundingClientRect();
          // The longest, a setting with its range and source, takes about ten lines.
          const above = box.bottom + 200 > window.innerHeight && box.top > 200;
          setShown({
            text: element.dataset.tip ?? "",
            formula: element.dataset.tipFormula ?? null,
            left: Math.min(Math.max(box.left + box.width / 2, 160), Math.max(160, window.innerWidth - 160)),
            top: above ? box.top - 6 : box.bottom + 6,
            above,
          });
          if (!element.hasAttribute("aria-describedby")) element.setAttribute("aria-describedby", "tip");
        },
        warm ? 0 : delay,
      );
    };
    const find = (event: Event) =>
      event.target instanceof Element ? event.target.closest<HTMLElement>("[data-tip]") : null;
    const over = (event: PointerEvent) => {
      const element = event.pointerType === "touch" ? null : find(event);
      if (element) show(element, element.classList.contains("token") ? 0 : 350);
      else if (target && document.activeElement !== target) hide();
    };
    const focus = (event: FocusEvent) => {
      const element = find(event);
      if (element?.matches(":focus-visible")) show(element, 0);
    };
    const key = (event: KeyboardEvent) => {
      if (event.key === "Escape") hide();
    };
    document.addEventListener("pointerover", over);
    document.addEventListener("focusin", focus);
    document.addEventListener("focusout", hide);
    document.addEventListener("pointerdown", hide);
    document.addEventListener("keydown", key);
    window.addEventListener("scroll", hide, true);
    return () => {
      hide();
      document.removeEventListener("pointerover", over);
      document.removeEventListener("focusin", focus);
      document.removeEventListener("focusout", hide);
      document.removeEventListener("pointerdown", hide);
      document.removeEventListener("keydown", key);
      window.removeEventListener("scroll", hide, true);
    };
  }, []);

  if (!shown) return null;
  return createPortal(
    <div
      id="tip"
      role="tooltip"
      className="pointer-events-none fixed z-50 w-max max-w-[320px] rounded-[5px] border border-line bg-raised px-2 py-1 text-xs whitespace-pre-line text-ink shadow-pop"
      style={{ left: shown.left, top: shown.top, translate: shown.above ? "-50% -100%" : "-50% 0" }}
    >
      {shown.text}
      {shown.formula && <div className="mt-1 font-mono text-2xs text-muted">{shown.formula}</div>}
    </div>,
    document.body,
  );
}
