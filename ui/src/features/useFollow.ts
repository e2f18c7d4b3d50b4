import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { useChannel } from "@/api/useChannel";

/** Reads an extraction's features anew when labels arrive or somebody changes one; at most once in 1.5 s. */
export function useFollow(id: string): void {
  const client = useQueryClient();
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const joined = useRef(false);
  useEffect(
    () => () => {
      if (timer.current) clearTimeout(timer.current);
    },
    [],
  );
  const soon = () => {
    timer.current ??= setTimeout(() => {
      timer.current = null;
      void client.invalidateQueries({ queryKey: ["features", id] });
      void client.invalidateQueries({ queryKey: ["extractions", id] });
    }, 1500);
  };
  useChannel(`extractions/${id}`, {
    onSnapshot: () => {
      if (joined.current) soon();
      joined.current = true;
    },
    onEvent: (event) => {
      if (event.type !== "job") soon();
    },
  });
}
