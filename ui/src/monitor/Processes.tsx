import { Link } from "@tanstack/react-router";
import type { components } from "@/api/schema";
import { format, Section, tip } from "@/kit";
import { useReading } from "./system";

type WorkProcess = components["schemas"]["WorkProcess"];

/** The server's own processes: who takes how much. */
export function Processes() {
  const reading = useReading<{ processes: WorkProcess[] }>("system/processes");
  const processes = reading?.processes ?? [];
  const gpu = processes.some((process) => process.gpu_memory !== null);
  return (
    <Section title="Processes">
      <div className="overflow-x-auto">
        <table className="w-full text-right">
          <thead className="text-xs text-muted">
            <tr className="h-7 border-b border-line [&>th]:px-2 [&>th]:font-normal">
              <th className="text-left">What</th>
              <th>PID</th>
              <th {...tip("Percent of one core: 200% is two cores busy")}>CPU</th>
              <th>Memory</th>
              {gpu && <th>GPU memory</th>}
              <th>Threads</th>
              <th>Runs for</th>
            </tr>
          </thead>
          <tbody>
            {processes.map((process) => (
              <tr key={process.pid} className="h-(--row) border-b border-line/60 [&>td]:px-2">
                <td className="text-left">
                  {process.job_id ? (
                    <Link to="/jobs/$id" params={{ id: process.job_id }} className="link">
                      job <code>{process.job_id}</code>
                    </Link>
                  ) : (
                    process.role
                  )}
                </td>
                <td>{process.pid}</td>
                <td>{Math.round(process.cpu)}%</td>
                <td>{format.bytes(process.rss)}</td>
                {gpu && <td>{format.bytes(process.gpu_memory)}</td>}
                <td>{process.threads}</td>
                <td>{format.duration(Date.now() / 1000 - process.started_at)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}
