/** Moments after which a connection may be dead without knowing it, or could be had again sooner than it is tried. */

const TICK_MILLISECONDS = 1000;
/** A clock that jumps by more than this stood still: the lid was closed, or the tab was frozen. */
const SLEPT_MILLISECONDS = 5000;

/** Where such moments are told of, and the clock in milliseconds. */
export interface Surroundings {
  window: EventTarget;
  document: EventTarget & { visibilityState: string };
  now: () => number;
}

/** Call `wake` when the network is back, the page is seen again, or time has jumped. Returns what ends it. */
export function startWaking(
  wake: () => void,
  { window, document, now }: Surroundings = {
    window: globalThis.window,
    document: globalThis.document,
    now: Date.now,
  },
): () => void {
  let last = now();
  const tick = setInterval(() => {
    const slept = now() - last > SLEPT_MILLISECONDS;
    last = now();
    if (slept) wake();
  }, TICK_MILLISECONDS);
  const seen = () => {
    if (document.visibilityState === "visible") wake();
  };
  // Also told of at the first load, when the connection is only just being made.
  const shown = (event: Event) => {
    if ((event as PageTransitionEvent).persisted) seen();
  };
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", shown);
  document.addEventListener("visibilitychange", seen);
  return () => {
    clearInterval(tick);
    window.removeEventListener("online", wake);
    window.removeEventListener("pageshow", shown);
    document.removeEventListener("visibilitychange", seen);
  };
}
