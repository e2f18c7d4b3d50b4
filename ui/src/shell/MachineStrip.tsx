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
  return (
    <span className="inline-flex items-center gap-1" {...tip(words)}>
      {name}
      <span
        role="meter"
        aria-label={words}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(share * 100)}
        className="block h-3 w-1.5 overflow-hidden rounded-[2px] bg-line"
      >
        <span
          className={`block h-full origin-bottom ${share > 0.92 ? "bg-warning" : "bg-bar"}`}
          style={{ transform: `scaleY(${Math.max(0.04, Math.min(1, share))})` }}
        />
      </span>
    </span>
  );
}
