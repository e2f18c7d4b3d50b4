import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { api, body } from "@/api/client";
import { useChannel } from "@/api/useChannel";
import { type Columns, goesBack, join } from "./points";

const POINTS = 2000;
/** Beyond so many points since the last fetch, the server thins them out again. */
const LIVE_POINTS = 6000;

/**
 * All metric points of a run: what the server has (thinned out), continued by events. Fetched once, and again only
 * when events were missed or the run went on from an earlier checkpoint.
 */
export function useMetrics(id: string) {
  const [live, setLive] = useState<Columns>({});
  const fetched = useQuery({
    queryKey: ["training metrics", id],
    queryFn: async ({ signal }) =>
      (await body(
        api.GET("/api/v1/trainings/{training_id}/metrics", {
          params: { path: { training_id: id }, query: { max_points: POINTS } },
          signal,
        }),
      )) as { columns: Columns; total_points: number; last_step: number },
    staleTime: Number.POSITIVE_INFINITY,
  });
  const columns = useMemo(() => join(fetched.data?.columns ?? {}, live), [fetched.data, live]);
  const known = useRef(columns);
  known.current = columns;
  const { refetch } = fetched;
  const again = () => {
    setLive({});
    void refetch();
  };
  const joined = useRef(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another run is another story.
  useEffect(() => {
    joined.current = false;
    setLive({});
  }, [id]);
  useChannel(`trainings/${id}`, {
    onSnapshot: () => {
      // The first belongs to our own fetch; later ones mean that events were missed.
      if (joined.current) again();
      joined.current = true;
    },
    onEvent: (event) => {
      if (event.type !== "metrics") return;
      const points = (event.data as { columns: Columns }).columns;
      if (goesBack(known.current, points) || (live.step?.length ?? 0) > LIVE_POINTS) again();
      else setLive((before) => join(before, points));
    },
  });
  return { columns, error: fetched.error, pending: fetched.isPending, refetch: again };
}

/** The newest values of a run that is under way, from events alone; null until the first. */
export function useNewest(id: string | null): Record<string, number | null> | null {
  const [newest, setNewest] = useState<Record<string, number | null> | null>(null);
  useChannel(id === null ? null : `trainings/${id}`, {
    onEvent: (event) => {
      if (event.type !== "metrics") return;
      const { columns } = event.data as { columns: Columns };
      setNewest(Object.fromEntries(Object.entries(columns).map(([name, all]) => [name, all.at(-1) ?? null])));
    },
  });
  return id === null ? null : newest;
}
