import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import {
  Bytes,
  Code,
  CopyButton,
  ErrorNote,
  Facts,
  format,
  RelativeTime,
  SearchField,
  Section,
  SettingFacts,
  SkeletonLines,
} from "@/kit";

type Ran = components["schemas"]["Environment"];

/** What each attempt at a training ran in, and what changed from one to the next. */
export function Environment({ id, active }: { id: string; active: boolean }) {
  const { data, error, refetch } = useQuery<Ran[]>({
    queryKey: ["trainings", id, "environments"],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/trainings/{training_id}/environments", {
          params: { path: { training_id: id } },
          signal,
        }),
      ),
    refetchInterval: (query) => (active && !query.state.data?.length ? 2000 : false),
  });
  const [chosen, choose] = useState(0);
  if (error)
    return (
      <div className="p-5">
        <ErrorNote error={error} onRetry={() => void refetch()} />
      </div>
    );
  if (!data)
    return (
      <div className="px-5 py-3">
        <SkeletonLines lines={8} />
      </div>
    );
  const shown = data[Math.min(chosen, data.length - 1)];
  if (!shown)
    return (
      <p className="px-5 py-10 text-center text-muted">
        {active ? "It is recorded when the training takes its first step." : "No environment was recorded."}
      </p>
    );
  const before = data[data.indexOf(shown) + 1];
  return (
    <div className="flex flex-col gap-6 px-5 py-4">
      <div className="flex items-center gap-3">
        {data.length > 1 && (
          <label className="flex items-center gap-2 text-muted">
            Attempt
            <select
              className="field w-auto"
              value={data.indexOf(shown)}
              onChange={(event) => choose(Number(event.target.value))}
            >
              {data.map((one, place) => (
                <option key={one.started_at} value={place}>
                  {one.attempt ?? data.length - place} · {format.utc(new Date(one.started_at))}
                </option>
              ))}
            </select>
          </label>
        )}
        <span className="text-muted">
          Began to train <RelativeTime at={shown.started_at} />
        </span>
        <span className="flex-1" />
        <span className="flex items-center gap-1 text-muted">
          As JSON <CopyButton label="Copy as JSON" text={JSON.stringify(shown, null, 2)} />
        </span>
      </div>
      <div className="grid gap-x-10 gap-y-6 lg:grid-cols-2 2xl:grid-cols-3">
        <div className="flex flex-col gap-6">
          <Section title="Machine">
            <Facts facts={machine(shown)} />
          </Section>
          <Section title="Program">
            <Facts facts={program(shown)} />
          </Section>
          {shown.settings && (
            <Section title="Settings of the studio">
              <SettingFacts settings={shown.settings} />
            </Section>
          )}
        </div>
        <Packages packages={shown.packages} before={before?.packages} />
      </div>
    </div>
  );
}

function machine(ran: Ran): [string, ReactNode][] {
  return [
    ["Processor", ran.cpu],
    ["Memory", <Bytes key="memory" value={ran.memory_bytes} />],
    ...ran.gpus.map((gpu, place): [string, ReactNode] => [
      `GPU ${place}`,
      `${gpu.name}, ${format.bytes(Number(gpu.memory_bytes))}, CUDA ${gpu.cuda}, compute capability ${gpu.compute_capability}`,
    ]),
    ["Trained on", ran.device],
    ["System", ran.system],
    ...Object.entries(ran.threads).map(([name, value]): [string, ReactNode] => [
      THREADS[name] ?? name,
      format.figure(value),
    ]),
  ];
}

const THREADS: Record<string, string> = {
  physical_cores: "Physical cores",
  usable_cores: "Usable cores",
  torch: "PyTorch threads",
  torch_interop: "PyTorch inter-op threads",
};

function program(ran: Ran): [string, ReactNode][] {
  const git = ran.git as { commit: string; branch: string; changed_files: string[] } | null;
  return [
    ["miStudio", ran.mistudio],
    ["Python", `${ran.python}, ${ran.python_build}`],
    ["Seed of the weights", <Code key="seed">{String(ran.seed)}</Code>],
    ["Seed of the order", <Code key="order">{String(ran.order_seed)}</Code>],
    ...Object.entries(ran.variables).map(([name, value]): [string, ReactNode] => [name, value || "empty"]),
    ...(git
      ? ([
          ["Git commit", <Code key="git">{git.commit}</Code>],
          ["Git branch", git.branch],
          ["Changed files", git.changed_files.length ? git.changed_files.join(", ") : "none"],
        ] as [string, ReactNode][])
      : []),
  ];
}

/** All packages, those first that an earlier attempt had otherwise. */
function Packages({
  packages,
  before,
}: {
  packages: Record<string, string>;
  before: Record<string, string> | undefined;
}) {
  const [search, setSearch] = useState("");
  const names = Object.keys({ ...packages, ...before }).toSorted();
  const changed = new Set(before ? names.filter((name) => packages[name] !== before[name]) : []);
  const found = names
    .filter((name) => name.includes(search.toLowerCase()))
    .toSorted((one, other) => Number(changed.has(other)) - Number(changed.has(one)));
  return (
    <div className="2xl:col-span-2">
      <Section
        title={`Packages (${format.figure(Object.keys(packages).length)})`}
        actions={<SearchField label="Search packages" value={search} onChange={setSearch} />}
      >
        {changed.size > 0 && (
          <p className="mb-2 text-warning">
            {format.plural(changed.size, "package differs", "packages differ")} from the attempt before: the
            run may not continue to the bit.
          </p>
        )}
        <ul className="columns-2 gap-6 2xl:columns-3">
          {found.map((name) => (
            <li key={name} className="flex break-inside-avoid gap-2 border-b border-line/60 leading-6">
              <span className="min-w-0 flex-1 truncate">{name}</span>
              {changed.has(name) && <span className="text-warning">was {before?.[name] ?? "absent"}</span>}
              <span className="text-muted">{packages[name] ?? "absent"}</span>
            </li>
          ))}
        </ul>
        {found.length === 0 && <p className="py-2 text-muted">No package is called so.</p>}
      </Section>
    </div>
  );
}
