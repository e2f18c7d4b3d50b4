import { useEffect, useReducer, useRef } from "react";
import type { PointLog } from "./pointLog";

/** Figures that follow points need no more than a few looks a second, however fast the points come. */
const MILLISECONDS = 250;

/** Renders the caller again after points have come, four times a second at most. */
export function useLive(logs: PointLog[]): void {
  const [, again] = useReducer((count: number) => count + 1, 0);
  // The logs themselves count, not the list that holds them.
  const known = useRef(logs);
  if (known.current.length !== logs.length || logs.some((log, index) => log !== known.current[index]))
    known.current = logs;
  const watched = known.current;
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const changed = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        again();
      }, MILLISECONDS);
    };
    const forget = watched.map((log) => log.watch(changed));
    return () => {
      clearTimeout(timer);
      for (const one of forget) one();
    };
  }, [watched]);
}
