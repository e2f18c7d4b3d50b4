import { useState } from "react";
import { useChannel } from "@/api/useChannel";
import type { Columns } from "@/kit/chart/pointLog";

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
