import type { components } from "@/api/schema";
import { format, tip } from "@/kit";
import { useReading, useSystemChannels } from "@/monitor/system";

type Cpu = components["schemas"]["Cpu"];
type Memory = components["schemas"]["Memory"];
type Gpu = components["schemas"]["Gpu"];

/** How busy the machine is, in three small bars: what one looks at without looking. */
export function MachineStrip() {
  const cpu = useReading<Cpu>("system/cpu");
  const memory = useReading<Memory>("system/memory");
  const gpuChannel = useSystemChannels().find((channel) => channel.startsWith("system/gpu/"));
  const gpu = useReading<Gpu>(gpuChannel ?? null);
  return (
    <div className="flex min-w-0 flex-1 items-center gap-2 px-1 text-2xs text-muted">
      {cpu && <Gauge name="CPU" share={cpu.total / 100} words={`CPU ${cpu.total.toFixed(0)}%`} />}
      {memory && (
        <Gauge
          name="Mem"
          share={memory.used / memory.total}
          words={`Memory ${format.bytes(memory.used)} of ${format.bytes(memory.total)}`}
        />
      )}
      {gpu && (
        <Gauge
          name="GPU"
          share={(gpu.utilization ?? 0) / 100}
          words={`${gpu.name}: ${gpu.utilization ?? "–"}%, ${format.bytes(gpu.memory_used)} of ${format.bytes(gpu.memory_total)}`}
        />
      )}
    </div>
  );
}

function Gauge({ name, share, words }: { name: string; share: number; words: string }) {
  const tall = Math.max(0.04, Math.min(1, share));
  return (
    <span className="inline-flex items-center gap-1" {...tip(words)}>
      {name}
      <svg role="img" aria-label={words} viewBox="0 0 6 12" className="h-3 w-1.5 rounded-[2px] bg-line">
        <rect
          width={6}
          height={12 * tall}
          y={12 * (1 - tall)}
          className={share > 0.92 ? "fill-warning" : "fill-bar"}
        />
      </svg>
    </span>
  );
}
