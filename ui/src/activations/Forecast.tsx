import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useDeferredValue } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { ErrorNote, format, SkeletonLines, tip } from "@/kit";

type Wanted = components["schemas"]["CacheCreate"];

/** Disk, memory and time of a harvest, before the start. */
export function Forecast({ wanted }: { wanted: Wanted }) {
  const settled = useDeferredValue(wanted);
  const forecast = useQuery({
    queryKey: ["activation_caches", "forecast", settled],
    queryFn: ({ signal }) => body(api.POST("/api/v1/activations/forecast", { body: settled, signal })),
    placeholderData: keepPreviousData,
    gcTime: 30_000,
  });
  if (forecast.error) return <ErrorNote error={forecast.error} />;
  const data = forecast.data;
  if (!data) return <SkeletonLines lines={1} />;
  const parts: [name: string, words: string, short: boolean, hint: string][] = [
    [
      "Activations",
      `${format.figure(data.n_tokens)} tokens × ${format.plural(data.hooks.length, "hook")}`,
      false,
      "At most: special tokens are taken off while harvesting",
    ],
    [
      "Disk",
      `${format.bytes(data.bytes)} of ${format.bytes(data.bytes_free)} free`,
      data.bytes > data.bytes_free,
      `${format.exact(data.bytes)} bytes: the values of each token at each hook point, and 10 bytes to say where it is from`,
    ],
    [
      "Memory",
      `${format.bytes(data.memory_bytes)} of ${format.bytes(data.memory_available)} free`,
      data.memory_bytes > data.memory_available,
      "Weights, one forward pass, and what waits to be written",
    ],
    [
      "Time",
      data.seconds === null ? "unknown before the first harvest" : `about ${format.duration(data.seconds)}`,
      false,
      `Speed ${data.basis}`,
    ],
  ];
  return (
    <section
      aria-label="Forecast"
      className="grid grid-cols-2 gap-3 rounded-[6px] border border-line bg-surface p-3 sm:grid-cols-4"
    >
      {parts.map(([name, words, short, hint]) => (
        <div key={name} {...tip(hint)}>
          <div className="text-2xs text-muted">{name}</div>
          <div className={short ? "font-medium text-failed" : ""}>
            {words}
            {short && " (too little)"}
          </div>
        </div>
      ))}
    </section>
  );
}
