import { useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import { api, body } from "@/api/client";
import { useChannel } from "@/api/useChannel";
import { append, type Generation, type Known, keep, type TokensEvent } from "./generations";

/** Everything that a session wrote, newest first; what is being written grows token by token. */
export function useGenerations(sessionId: string) {
  const [known, setKnown] = useState<Known>(new Map());
  const current = useRef(known);
  const change = useCallback((next: Known) => {
    current.current = next;
    setKnown(next);
  }, []);
  const add = useCallback((incoming: Generation[]) => change(keep(current.current, incoming)), [change]);
  const stored = useQuery({
    queryKey: ["steering_sessions", sessionId, "generations"],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/steering/sessions/{session_id}/generations", {
          params: { path: { session_id: sessionId }, query: { limit: 200 } },
          signal,
        }),
      ),
  });
  useEffect(() => {
    if (stored.data) add(stored.data.items);
  }, [stored.data, add]);
  const asking = useRef(new Set<string>());
  const fetchOne = async (id: string) => {
    if (asking.current.has(id)) return;
    asking.current.add(id);
    try {
      add([
        await body(
          api.GET("/api/v1/steering/generations/{generation_id}", {
            params: { path: { generation_id: id } },
          }),
        ),
      ]);
    } catch {
      // It was deleted meanwhile, or the connection is gone: then the next snapshot brings it.
    } finally {
      asking.current.delete(id);
    }
  };
  const remove = useCallback(
    (id: string) => {
      const next = new Map(current.current);
      next.delete(id);
      change(next);
    },
    [change],
  );
  useChannel(`steering/${sessionId}`, {
    onSnapshot: (snapshot) => add((snapshot as { generations?: Generation[] } | null)?.generations ?? []),
    onEvent: (event) => {
      if (event.type === "generation") add([event.data as Generation]);
      else if (event.type === "deleted") remove((event.data as { generation: string }).generation);
      else if (event.type === "tokens") {
        const next = append(current.current, event.data as TokensEvent);
        if (next) change(next);
        else void fetchOne((event.data as TokensEvent).generation);
      }
    },
  });
  const all = [...known.values()].sort(
    (one, other) => other.created_at.localeCompare(one.created_at) || other.id.localeCompare(one.id),
  );
  return { all, known, add, remove, pending: stored.isPending, error: stored.error, refetch: stored.refetch };
}
