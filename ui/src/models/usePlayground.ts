import { useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import { api, body } from "@/api/client";
import { useChannel } from "@/api/useChannel";
import { append, type Known, keep, type ModelRequest, newestFirst, type TokensEvent } from "./playground";

/** Everything of one kind that was asked of a model, newest first; what is being written grows as it comes. */
export function usePlayground(modelId: string, kind: ModelRequest["kind"]) {
  const [known, setKnown] = useState<Known>(new Map());
  const current = useRef(known);
  const change = useCallback((next: Known) => {
    current.current = next;
    setKnown(next);
  }, []);
  const add = useCallback(
    (incoming: ModelRequest[]) =>
      change(
        keep(
          current.current,
          incoming.filter((one) => one.kind === kind),
        ),
      ),
    [change, kind],
  );
  const stored = useQuery({
    queryKey: ["models", modelId, "requests", kind],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/models/{model_id}/requests", {
          params: { path: { model_id: modelId }, query: { kind, limit: 100 } },
          signal,
        }),
      ),
  });
  useEffect(() => {
    if (stored.data) add(stored.data.items);
  }, [stored.data, add]);
  const asking = useRef(new Set<string>());
  const fetchOne = useCallback(
    async (id: string) => {
      if (asking.current.has(id)) return;
      asking.current.add(id);
      try {
        add([
          await body(
            api.GET("/api/v1/models/{model_id}/requests/{request_id}", {
              params: { path: { model_id: modelId, request_id: id } },
            }),
          ),
        ]);
      } catch {
        // It was deleted meanwhile, or the connection is gone: then the next snapshot brings it.
      } finally {
        asking.current.delete(id);
      }
    },
    [add, modelId],
  );
  const remove = useCallback(
    (id: string) => {
      const next = new Map(current.current);
      next.delete(id);
      change(next);
    },
    [change],
  );
  useChannel(`playground/${modelId}`, {
    onSnapshot: (snapshot) => add((snapshot as { requests?: ModelRequest[] } | null)?.requests ?? []),
    onEvent: (event) => {
      if (event.type === "request") add([event.data as ModelRequest]);
      else if (event.type === "deleted") remove((event.data as { request: string }).request);
      else if (event.type === "tokens" && kind === "generate") {
        const next = append(current.current, event.data as TokensEvent);
        if (next) change(next);
        else void fetchOne((event.data as TokensEvent).request);
      }
    },
  });
  return {
    all: newestFirst(known),
    known,
    add,
    fetchOne,
    remove,
    pending: stored.isPending,
    error: stored.error,
  };
}

/** Ask for one to be stopped; what is there stays. */
export async function stopRequest(one: ModelRequest): Promise<ModelRequest> {
  return body(
    api.POST("/api/v1/models/{model_id}/requests/{request_id}/cancel", {
      params: { path: { model_id: one.model_id, request_id: one.id } },
    }),
  );
}

export const isOpen = (one: ModelRequest | undefined): one is ModelRequest =>
  one !== undefined && (one.state === "waiting" || one.state === "writing");
