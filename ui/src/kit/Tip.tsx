import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { createPortal } from "react-dom";

/**
 * Tooltips for everything, also for thousands of cells and tokens: an element says what its tip is in attributes,
 * and this one layer shows it on hover and on keyboard focus. Mounted once, in the shell.
 */
export function tip(text: string | null | undefined, formula?: string | null): Record<string, string> {
  if (!text) return {};
  return formula ? { "data-tip": text, "data-tip-formula": formula } : { "data-tip": text };
}

/** The whole of a text that may be cut off; where it is not, there is no tip. */
export function cutTip(text: string): Record<string, string> {
  return { "data-tip": text, "data-tip-cut": "" };
}

interface Shown {
  text: string;
  formula: string | null;
  /** What it belongs to, in the window. */
  anchor: { left: number; right: number; top: number; bottom: number };
}

/** Between a tip and what it belongs to, and between it and the window's edge. */
const GAP = 6;
const EDGE = 8;

/**
 * Where a tip of this size stands wholly within the window: beneath what it belongs to, else above it, else beside
 * it where there is more room.
 */
export function placeTip(
  anchor: Shown["anchor"],
  tip: { width: number; height: number },
  window: { width: number; height: number },
): { left: number; top: number } {
  const inside = (at: number, size: number, room: number) => Math.max(EDGE, Math.min(at, room - EDGE - size));
  const centred = inside((anchor.left + anchor.right - tip.width) / 2, tip.width, window.width);
  const below = anchor.bottom + GAP;
  if (below + tip.height <= window.height - EDGE) return { left: centred, top: below };
  const above = anchor.top - GAP - tip.height;
  if (above >= EDGE) return { left: centred, top: above };
  const top = inside((anchor.top + anchor.bottom - tip.height) / 2, tip.height, window.height);
  const right = anchor.right + GAP;
  const left = right + tip.width <= window.width - EDGE ? right : anchor.left - GAP - tip.width;
  return { left: inside(left, tip.width, window.width), top };
}

/** What is larger than this, such as a line across a plot, has its tip where the pointer is. */
const LARGE = 320;

function anchorOf(element: Element, pointer: { x: number; y: number } | null): Shown["anchor"] {
  const box = element.getBoundingClientRect();
  if (!pointer || (box.width <= LARGE && box.height <= LARGE)) return box;
  return { left: pointer.x, right: pointer.x, top: pointer.y - GAP, bottom: pointer.y + 2 * GAP };
}

export function TipLayer() {
  const [shown, setShown] = useState<Shown | null>(null);
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element || !shown) return;
    const at = placeTip(
      shown.anchor,
      { width: element.offsetWidth, height: element.offsetHeight },
      { width: document.documentElement.clientWidth, height: window.innerHeight },
    );
    element.style.left = `${at.left}px`;
    element.style.top = `${at.top}px`;
  }, [shown]);
  useEffect(() => {
    let target: HTMLElement | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let pointer: { x: number; y: number } | null = null;
    let visible = false;
    const hide = () => {
      clearTimeout(timer);
      target?.removeAttribute("aria-describedby");
      target = null;
      visible = false;
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
          if ("tipCut" in element.dataset && element.scrollWidth <= element.clientWidth) return;
          visible = true;
          setShown({
            text: element.dataset.tip ?? "",
            formula: element.dataset.tipFormula ?? null,
            anchor: anchorOf(element, pointer),
          });
          if (!element.hasAttribute("aria-describedby")) element.setAttribute("aria-describedby", "tip");
        },
        warm ? 0 : delay,
      );
    };
    const find = (event: Event) =>
      event.target instanceof Element ? event.target.closest<HTMLElement>("[data-tip]") : null;
    const move = (event: PointerEvent) => {
      pointer = { x: event.clientX, y: event.clientY };
    };
    const over = (event: PointerEvent) => {
      const element = event.pointerType === "touch" ? null : find(event);
      if (element) show(element, element.classList.contains("token") ? 0 : 350);
      else if (target && document.activeElement !== target) hide();
    };
    const focus = (event: FocusEvent) => {
      const element = find(event);
      if (!element?.matches(":focus-visible")) return;
      pointer = null;
      show(element, 0);
    };
    const key = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      // An explanation that the keyboard called up goes alone: its dialog stays. A mere label takes no key.
      if (visible && target === document.activeElement && target?.ariaLabel !== target?.dataset.tip)
        event.stopImmediatePropagation();
      hide();
    };
    document.addEventListener("pointermove", move, { passive: true });
    document.addEventListener("pointerover", over);
    document.addEventListener("focusin", focus);
    document.addEventListener("focusout", hide);
    document.addEventListener("pointerdown", hide);
    window.addEventListener("keydown", key, true);
    window.addEventListener("scroll", hide, true);
    return () => {
      hide();
      document.removeEventListener("pointermove", move);
      document.removeEventListener("pointerover", over);
      document.removeEventListener("focusin", focus);
      document.removeEventListener("focusout", hide);
      document.removeEventListener("pointerdown", hide);
      window.removeEventListener("keydown", key, true);
      window.removeEventListener("scroll", hide, true);
    };
  }, []);

  if (!shown) return null;
  return createPortal(
    <div
      ref={box}
      id="tip"
      role="tooltip"
      className="pointer-events-none fixed top-0 left-0 z-50 max-h-[calc(100vh-16px)] w-max max-w-[min(340px,calc(100vw-16px))] overflow-hidden rounded-[5px] border border-line bg-raised px-2 py-1 text-xs break-words whitespace-pre-line text-ink shadow-pop"
    >
      {shown.text}
      {shown.formula && <div className="mt-1 font-mono text-2xs text-muted">{shown.formula}</div>}
    </div>,
    document.body,
  );
}
