import type { components } from "@/api/schema";
import { format, tip } from "@/kit";

type Forecast = components["schemas"]["MemoryForecastOut"];

const PARTS = [
  ["weights", "Weights"],
  ["activations", "Activations"],
  ["kv_cache", "Keys and values"],
  ["logits", "Logits"],
  ["total", "Together"],
] as const;

/** What running the model takes in every precision, each figure with its formula. */
export function MemoryTable({
  memory,
  chosen,
  approximate = false,
}: {
  memory: Forecast[];
  /** The precision that is set. */
  chosen?: string;
  approximate?: boolean;
}) {
  const available = memory[0]?.available ?? 0;
  return (
    <div className="min-w-0 overflow-x-auto">
      <table className="w-full border-collapse">
        <thead className="text-right text-xs text-muted">
          <tr>
            <th className="h-6 text-left font-normal">Precision</th>
            {PARTS.map(([key, name]) => (
              <th key={key} className="pl-4 font-normal whitespace-nowrap">
                {name}
              </th>
            ))}
            <th className="pl-4 text-left font-normal" />
          </tr>
        </thead>
        <tbody>
          {memory.map((one) => {
            const short = one.total > one.available;
            return (
              <tr
                key={one.dtype}
                className={`h-[26px] border-t border-line ${one.dtype === chosen ? "bg-accent-wash font-medium" : ""}`}
              >
                <td className="pr-2">{one.dtype}</td>
                {PARTS.slice(0, -1).map(([key]) => (
                  <td
                    key={key}
                    className="pl-4 text-right whitespace-nowrap"
                    {...tip(`${format.exact(one[key])} bytes`, one.formulas?.[key])}
                  >
                    {approximate && "≈ "}
                    {format.bytes(one[key])}
                  </td>
                ))}
                <td className={`pl-4 text-right whitespace-nowrap ${short ? "text-failed" : ""}`}>
                  <span
                    // biome-ignore lint/a11y/noNoninteractiveTabindex: the formulas must be reachable by keyboard.
                    tabIndex={0}
                    className="rounded-[3px]"
                    {...tip(`${format.exact(one.total)} bytes`, sums(one))}
                  >
                    {approximate && "≈ "}
                    {format.bytes(one.total)}
                  </span>
                </td>
                <td className="pl-4 text-xs font-normal whitespace-nowrap text-muted">
                  {one.obstacle ? (
                    <span {...tip(one.obstacle)}>not on this machine</span>
                  ) : short ? (
                    <span className="text-failed">more than is free</span>
                  ) : (
                    ""
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      <p className="mt-1 text-xs text-muted">
        {format.bytes(available)} of memory are free on this machine now.
      </p>
    </div>
  );
}

/** How every part of the sum was reached. */
function sums(one: Forecast): string {
  return PARTS.slice(0, -1)
    .map(([key, name]) => `${name}: ${one.formulas?.[key] ?? ""}`)
    .join("\n");
}
