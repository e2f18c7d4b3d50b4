import { type QueryKey, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useSyncExternalStore } from "react";
import type { Connection, Listener } from "./live";
import { live } from "./socket";

/** Follow a channel while mounted: snapshots and events in order, also over polling. `null` follows nothing. */
export function useChannel(channel: string | null, listener: Listener): void {
  const current = useRef(listener);
  useEffect(() => {
    current.current = listener;
  });
  useEffect(() => {
    if (channel === null) return;
    return live.follow(channel, {
      onSnapshot: (snapshot) => current.current.onSnapshot?.(snapshot),
      onEvent: (event) => current.current.onEvent?.(event),
    });
  }, [channel]);
}

/** Refetch these queries whenever the channel says that something was created, changed or deleted. */
export function useRefetchOn(channel: string | null, queryKey: QueryKey): void {
  const client = useQueryClient();
  useChannel(channel, {
    // The first one too: what happened between the page's own fetch and joining the channel came as no event.
    onSnapshot: () => void client.invalidateQueries({ queryKey }),
    onEvent: (event) => {
      // Jobs tell of their progress on their subject's channel too; `useJob` shows that without a request.
      if (event.type !== "job") void client.invalidateQueries({ queryKey });
    },
  });
}

/** Whether events flow. */
export function useConnection(): Connection {
  return useSyncExternalStore(
    (watcher) => live.watch(watcher),
    () => live.connection,
  );
}
