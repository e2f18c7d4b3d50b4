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
  const first = useRef(true);
  useChannel(channel, {
    onSnapshot: () => {
      // The first snapshot belongs to the page's own first fetch; later ones mean that something was missed.
      if (!first.current) void client.invalidateQueries({ queryKey });
      first.current = false;
    },
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
