import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { TriangleAlert } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { Bytes, ErrorNote, Facts, format, Num, Section, SkeletonLines, tip } from "@/kit";

type Wanted = components["schemas"]["TrainingCreate"];
type Forecast = components["schemas"]["Forecast"];

/** What a training will take, asked for while one types. */
export function ForecastPanel({ wanted }: { wanted: Wanted | null }) {
  const [settled, setSettled] = useState(wanted);
  const shape = JSON.stringify(wanted);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(JSON.parse(shape) as Wanted | null), 300);
    return () => clearTimeout(timer);
  }, [shape]);
  const forecast = useQuery({
    queryKey: ["training forecast", settled],
    enabled: settled !== null,
    queryFn: ({ signal }) =>
      body(api.POST("/api/v1/trainings/forecast", { body: settled as Wanted, signal })),
    placeholderData: keepPreviousData,
    gcTime: 30_000,
  });
  return (
    <Section title="Forecast">
      {wanted === null ? (
        <p className="text-muted">
          Memory, disk and time are worked out once tokenization and hook point are chosen and every field is
          in its range.
        </p>
      ) : forecast.error ? (
        <ErrorNote error={forecast.error} />
      ) : forecast.data ? (
        <Figures data={forecast.data} />
      ) : (
        <SkeletonLines lines={5} />
      )}
    </Section>
  );
}

function Figures({ data }: { data: Forecast }) {
  const parts = Object.entries(data.parts).sort(([, one], [, other]) => other - one);
  return (
    <div className="flex flex-col gap-4" aria-live="polite">
      <Usage name="Memory" need={data.memory_bytes} free={data.available_memory_bytes} />
      <Usage name="Disk" need={data.disk_bytes} free={data.available_disk_bytes} />
      <Facts
        facts={[
          [
            "Time",
            <span key="time" className="font-medium">
              about {format.duration(data.seconds)}
            </span>,
          ],
          ["Speed", <Num key="rate" value={data.tokens_per_second} unit="tokens/s" />],
          ["Known from", data.basis],
        ]}
      />
      {data.warnings.length > 0 && (
        <ul className="flex flex-col gap-2">
          {data.warnings.map((warning) => (
            <li key={warning} className="flex gap-2 rounded-[6px] border border-line bg-surface px-3 py-2">
              <TriangleAlert size={14} aria-label="Warning" className="mt-[3px] shrink-0 text-warning" />
              <span className="min-w-0">{warning}</span>
            </li>
          ))}
        </ul>
      )}
      <Section title="Memory by what needs it">
        <Facts
          facts={parts.map(([name, bytes]): [string, ReactNode] => [
            format.sentence(name),
            <Bytes key={name} value={bytes} />,
          ])}
        />
      </Section>
    </div>
  );
}

function Usage({ name, need, free }: { name: string; need: number; free: number }) {
  const share = free > 0 ? Math.min(1, need / free) : 1;
  const short = need > free;
  return (
    <div {...tip(`${name}: ${format.exact(need)} of ${format.exact(free)} bytes`)}>
      <div className="flex justify-between">
        <span className="text-muted">{name}</span>
        <span className={short ? "font-medium text-failed" : ""}>
          {format.bytes(need)} of {format.bytes(free)} free{short && " (too little)"}
        </span>
      </div>
      <div className="mt-1 h-1 overflow-hidden rounded-full bg-line">
        <div className={`h-full ${short ? "bg-failed" : "bg-bar"}`} style={{ width: `${share * 100}%` }} />
      </div>
    </div>
  );
}
