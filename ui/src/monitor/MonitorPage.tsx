import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useConnection } from "@/api/useChannel";
import { ErrorNote, format, PageHeader, Section, StateBadge, tip, useUrlState } from "@/kit";
import { Curve } from "@/kit/Curve";
import { GpuPanel } from "./GpuPanel";
import { Processes } from "./Processes";
import { Storage } from "./Storage";
import { curve, type Series, useSeries } from "./series";
import { useReading, useSystemChannels } from "./system";

type Schemas = components["schemas"];

const SPANS = { "5 min": 300, "15 min": 900, "1 h": 3600 };

export function MonitorPage() {
  const connection = useConnection();
  const [span, setSpan] = useUrlState("span", 900);
  const hour = useQuery({
    queryKey: ["system", "hour"],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/system", { params: { query: { history_seconds: 3600 } }, signal })),
    staleTime: 0,
  });
  const gpus = useSystemChannels().filter((channel) => channel.startsWith("system/gpu/"));
  return (
    <>
      <PageHeader
        title="Monitor"
        state={
          connection === "polling" ? (
            <StateBadge state="warning" word="polling every 2 s" />
          ) : connection === "offline" ? (
            <StateBadge state="failed" word="server away" />
          ) : undefined
        }
        actions={
          <select
            aria-label="Time shown"
            className="field w-auto"
            value={span}
            onChange={(event) => setSpan(Number(event.target.value))}
          >
            {Object.entries(SPANS).map(([name, seconds]) => (
              <option key={name} value={seconds}>
                last {name}
              </option>
            ))}
          </select>
        }
      />
      <div className="min-h-0 flex-1 overflow-y-auto p-5">
        {hour.error && <ErrorNote error={hour.error} onRetry={() => void hour.refetch()} />}
        <div className="grid gap-x-8 gap-y-6 lg:grid-cols-2 2xl:grid-cols-3">
          <CpuPanel history={hour.data?.history} span={span} />
          <MemoryPanel history={hour.data?.history} span={span} />
          <DiskPanel history={hour.data?.history} span={span} />
          <NetworkPanel history={hour.data?.history} span={span} />
          {gpus.map((channel) => (
            <GpuPanel key={channel} channel={channel} history={hour.data?.history} span={span} />
          ))}
          <Processes />
          <Storage />
        </div>
      </div>
    </>
  );
}

interface PanelProps {
  history: Schemas["History"] | undefined;
  span: number;
}

function useSeed(
  history: Schemas["History"] | undefined,
  columns: (history: Schemas["History"]) => Series["columns"],
) {
  // biome-ignore lint/correctness/useExhaustiveDependencies: `columns` is the same function for one panel.
  return useMemo(() => history && { at: history.at, columns: columns(history) }, [history]);
}

function CpuPanel({ history, span }: PanelProps) {
  const now = useReading<Schemas["Cpu"]>("system/cpu");
  const seed = useSeed(history, (one) => ({ total: one.cpu }));
  const series = useSeries("system/cpu", ["total"], seed);
  const curves = useMemo(() => [curve(series, "total", "CPU", span, 0)], [series, span]);
  return (
    <Section title="Processors">
      <Curve
        title={
          now
            ? `${now.cores.length} cores, load ${now.load.map((one) => one.toFixed(2)).join(" ")}`
            : "All cores"
        }
        hint="Load averages over 1, 5 and 15 minutes"
        unit="%"
        xKind="time"
        sync="monitor"
        range={[0, 100]}
        height={120}
        series={curves}
      />
      <ul
        aria-label="Cores"
        className="mt-2 grid grid-cols-[repeat(auto-fill,minmax(88px,1fr))] gap-x-3 gap-y-1"
      >
        {now?.cores.map((busy, core) => (
          <li
            // biome-ignore lint/suspicious/noArrayIndexKey: a core is its number.
            key={core}
            className="flex items-center gap-1.5 text-2xs text-muted"
            {...tip(`Core ${core}: ${busy.toFixed(1)}%`)}
          >
            <span className="w-4 text-right">{core}</span>
            <span className="h-1.5 min-w-0 flex-1 overflow-hidden rounded-full bg-line">
              <span className="block h-full bg-bar" style={{ width: `${busy}%` }} />
            </span>
            <span className="w-7 text-right text-ink">{Math.round(busy)}%</span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function MemoryPanel({ history, span }: PanelProps) {
  const now = useReading<Schemas["Memory"]>("system/memory");
  const seed = useSeed(history, (one) => ({ used: one.memory_used, swap_used: one.swap_used }));
  const series = useSeries("system/memory", ["used", "swap_used"], seed);
  const curves = useMemo(() => {
    const memory = curve(series, "used", "memory", span, 0);
    const swap = curve(series, "swap_used", "swap", span, 1);
    return (now?.swap_total ?? 0) > 0 ? [memory, swap] : [memory];
  }, [series, span, now?.swap_total]);
  return (
    <Section title="Memory">
      <Curve
        title={
          now
            ? `${format.bytes(now.used)} of ${format.bytes(now.total)}${now.swap_total ? `, swap ${format.bytes(now.swap_used)} of ${format.bytes(now.swap_total)}` : ", no swap"}`
            : "In use"
        }
        unit="bytes"
        xKind="time"
        sync="monitor"
        height={140}
        {...(now ? { range: [0, now.total] as [number, number] } : {})}
        series={curves}
      />
    </Section>
  );
}

function DiskPanel({ history, span }: PanelProps) {
  const now = useReading<Schemas["Disk"]>("system/disk");
  const seed = useSeed(history, (one) => ({ read_rate: one.read_rate, write_rate: one.write_rate }));
  const series = useSeries("system/disk", ["read_rate", "write_rate"], seed);
  const curves = useMemo(
    () => [curve(series, "read_rate", "read", span, 0), curve(series, "write_rate", "written", span, 1)],
    [series, span],
  );
  return (
    <Section title="Disk">
      <Curve
        title={now ? `${format.bytes(now.free)} free of ${format.bytes(now.total)}` : "Read and written"}
        unit="bytes/s"
        xKind="time"
        sync="monitor"
        height={140}
        series={curves}
      />
    </Section>
  );
}

function NetworkPanel({ history, span }: PanelProps) {
  const seed = useSeed(history, (one) => ({ received_rate: one.received_rate, sent_rate: one.sent_rate }));
  const series = useSeries("system/network", ["received_rate", "sent_rate"], seed);
  const curves = useMemo(
    () => [curve(series, "received_rate", "received", span, 0), curve(series, "sent_rate", "sent", span, 1)],
    [series, span],
  );
  return (
    <Section title="Network">
      <Curve title="All interfaces" unit="bytes/s" xKind="time" sync="monitor" height={140} series={curves} />
    </Section>
  );
}
