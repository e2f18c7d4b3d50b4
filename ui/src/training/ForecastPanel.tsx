import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { TriangleAlert } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { Bytes, Disclosure, ErrorNote, Facts, format, Num, Section, SkeletonLines, tip } from "@/kit";

type Wanted = components["schemas"]["TrainingCreate"];
type Forecast = components["schemas"]["Forecast"];
type Advice = components["schemas"]["Advice"];
type Apply = (setting: string, value: number) => void;

/** How many SAEs are named before the others are folded away. */
const NAMED = 6;

/** What a training will take, asked for while one types. */
export function ForecastPanel({
  wanted,
  chosen,
  onApply,
}: {
  /** The request where it is complete. */
  wanted: Wanted | null;
  /** Whether any hook point is chosen yet. */
  chosen: boolean;
  onApply: Apply;
}) {
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
          {chosen
            ? "Memory, disk and time are worked out once every field is in its range."
            : "Choose one or several hook points: then memory, disk and time are worked out here."}
        </p>
      ) : forecast.error ? (
        <ErrorNote error={forecast.error} />
      ) : forecast.data ? (
        <Figures data={forecast.data} onApply={onApply} />
      ) : (
        <SkeletonLines lines={5} />
      )}
    </Section>
  );
}

function Figures({ data, onApply }: { data: Forecast; onApply: Apply }) {
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
          ["Known from", data.basis.charAt(0).toUpperCase() + data.basis.slice(1)],
        ]}
      />
      {data.warnings.length > 0 && (
        <ul className="flex flex-col gap-2">
          {data.warnings.map((one) => (
            <Warning key={one.message} advice={one} of={data.saes.length} onApply={onApply} />
          ))}
        </ul>
      )}
      <Section title={format.plural(data.saes.length, "SAE")}>
        <Saes saes={data.saes.slice(0, NAMED)} />
        {data.saes.length > NAMED && (
          <div className="mt-2">
            <Disclosure label={`${data.saes.length - NAMED} more`} forced={false}>
              <Saes saes={data.saes.slice(NAMED)} />
            </Disclosure>
          </div>
        )}
      </Section>
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

function Saes({ saes }: { saes: Forecast["saes"] }) {
  return (
    <ul className="flex flex-col">
      {saes.map((sae) => (
        <li
          key={`${sae.hook} ${sae.name}`}
          className="flex items-baseline gap-2 border-t border-line py-1 first:border-t-0"
        >
          <span className="min-w-0 flex-1">
            <code className="block truncate text-xs text-muted">{sae.hook}</code>
            <span className="break-words">{sae.name}</span>
          </span>
          <span className="shrink-0 text-muted" {...tip("Memory that this SAE keeps while it learns")}>
            {format.bytes(sae.memory_bytes)}
          </span>
        </li>
      ))}
    </ul>
  );
}

function Warning({ advice, of, onApply }: { advice: Advice; of: number; onApply: Apply }) {
  const { setting, suggestion } = advice;
  const name = setting?.slice(setting.lastIndexOf(".") + 1);
  return (
    <li className="flex gap-2 rounded-[6px] border border-line bg-surface px-3 py-2">
      <TriangleAlert size={14} aria-label="Warning" className="mt-[3px] shrink-0 text-warning" />
      <span className="min-w-0">
        {of > 1 && advice.saes < of && (
          <span className="text-muted">
            {advice.saes} of {of} SAEs:{" "}
          </span>
        )}
        {advice.message}
        {setting && suggestion !== null && suggestion !== undefined && (
          <button
            type="button"
            className="link mt-0.5 block rounded-[3px]"
            onClick={() => onApply(setting, suggestion)}
          >
            Set <code>{name}</code> to {format.exact(suggestion)}
          </button>
        )}
      </span>
    </li>
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
