import { useMemo } from "react";
import type { components } from "@/api/schema";
import { format, Section } from "@/kit";
import { Curve } from "@/kit/Curve";
import { curve, useSeries } from "./series";
import { useReading } from "./system";

type Schemas = components["schemas"];

/** One GPU: busy, memory, temperature, power, and whose memory it is. */
export function GpuPanel({
  channel,
  history,
  span,
}: {
  channel: string;
  history: Schemas["History"] | undefined;
  span: number;
}) {
  const now = useReading<Schemas["Gpu"]>(channel);
  const index = Number(channel.split("/").at(-1));
  const seed = useMemo(() => {
    const gpu = history?.gpus.find((one) => one.index === index);
    return gpu && history
      ? { at: history.at, columns: { utilization: gpu.utilization, memory_used: gpu.memory_used } }
      : undefined;
  }, [history, index]);
  const series = useSeries(channel, ["utilization", "memory_used"], seed);
  const busy = useMemo(() => [curve(series, "utilization", "busy", span, 0)], [series, span]);
  const memory = useMemo(() => [curve(series, "memory_used", "memory", span, 2)], [series, span]);
  return (
    <Section title={now ? `GPU ${index}: ${now.name}` : `GPU ${index}`}>
      <Curve title="Busy" unit="%" xKind="time" sync="monitor" height={90} range={[0, 100]} series={busy} />
      <Curve
        title={
          now ? `Memory ${format.bytes(now.memory_used)} of ${format.bytes(now.memory_total)}` : "Memory"
        }
        unit="bytes"
        xKind="time"
        sync="monitor"
        height={90}
        {...(now ? { range: [0, now.memory_total] as [number, number] } : {})}
        series={memory}
      />
      {now && (
        <p className="text-muted">
          {now.temperature !== null && `${Math.round(now.temperature)} °C`}
          {now.power !== null &&
            ` · ${Math.round(now.power)}${now.power_limit ? ` of ${Math.round(now.power_limit)}` : ""} W`}
          {now.processes.length > 0 && ` · ${format.plural(now.processes.length, "process", "processes")}`}
        </p>
      )}
    </Section>
  );
}
