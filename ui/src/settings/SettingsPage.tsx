import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { useConnection } from "@/api/useChannel";
import { HubAccess } from "@/hub/HubAccess";
import {
  type Column,
  DataTable,
  ErrorNote,
  Facts,
  PageHeader,
  SearchField,
  StateBadge,
  Tabs,
  tip,
  useRows,
} from "@/kit";
import { type Density, setDensity, setTheme, type Theme, useDensity, useTheme } from "@/shell/preferences";

type Setting = components["schemas"]["SettingOut"];

const shown = (value: unknown): string =>
  value === null || value === undefined
    ? "not set"
    : Array.isArray(value)
      ? value.length > 0
        ? value.join(", ")
        : "none"
      : String(value);

const COLUMNS: Column<Setting>[] = [
  {
    id: "name",
    header: "Setting",
    width: "minmax(180px, 1fr)",
    cell: (setting) => (
      <code {...tip(`Environment: MISTUDIO_${setting.name.toUpperCase()}`)}>{setting.name}</code>
    ),
  },
  {
    id: "value",
    header: "Value",
    width: "minmax(160px, 1.2fr)",
    cell: (setting) => (
      <code
        className={setting.source === "default" ? "text-muted" : "font-medium"}
        {...tip(`${shown(setting.value)}\nDefault: ${shown(setting.default)}`)}
      >
        {shown(setting.value)}
      </code>
    ),
  },
  {
    id: "source",
    header: "From",
    width: "130px",
    hint: "Where the value comes from: a flag, the environment, the settings file, or the default",
    cell: (setting) => (
      <span className={setting.source === "default" ? "text-muted" : ""}>{setting.source}</span>
    ),
  },
  {
    id: "description",
    header: "Meaning",
    width: "minmax(320px, 3fr)",
    cell: (setting) => (
      <span className="text-muted" {...tip(setting.description)}>
        {setting.description}
      </span>
    ),
  },
];

export function SettingsPage() {
  return (
    <>
      <PageHeader title="Settings" />
      <Tabs
        label="Settings"
        tabs={[
          { id: "appearance", label: "Appearance", content: () => <Appearance /> },
          { id: "server", label: "Server", content: () => <ServerSettings /> },
          {
            id: "hub",
            label: "Hub",
            content: () => (
              <div className="max-w-2xl p-5">
                <HubAccess />
              </div>
            ),
          },
          { id: "connection", label: "Connection", content: () => <Connection /> },
        ]}
      />
    </>
  );
}

function Choice<T extends string>({
  legend,
  value,
  choices,
  onChange,
}: {
  legend: string;
  value: T;
  choices: Record<T, string>;
  onChange: (value: T) => void;
}) {
  return (
    <fieldset>
      <legend className="mb-1 text-xs text-muted">{legend}</legend>
      <div className="inline-flex rounded-[6px] border border-line-strong p-0.5">
        {(Object.entries(choices) as [T, string][]).map(([name, label]) => (
          <label
            key={name}
            className="flex h-6 cursor-pointer items-center rounded-[4px] px-3 has-checked:bg-accent has-checked:text-accent-ink has-focus-visible:outline-2 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent"
          >
            <input
              type="radio"
              className="sr-only"
              name={legend}
              checked={value === name}
              onChange={() => onChange(name)}
            />
            {label}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

function Appearance() {
  const theme = useTheme();
  const density = useDensity();
  return (
    <div className="flex flex-col items-start gap-5 p-5">
      <Choice<Theme>
        legend="Theme"
        value={theme}
        choices={{ light: "Light", dark: "Dark", system: "As the system" }}
        onChange={setTheme}
      />
      <Choice<Density>
        legend="Density of tables"
        value={density}
        choices={{ compact: "Compact", comfortable: "Comfortable" }}
        onChange={setDensity}
      />
      <p className="text-muted">Kept in this browser.</p>
    </div>
  );
}

function ServerSettings() {
  const [text, setText] = useState("");
  const { data, error, refetch } = useQuery({
    queryKey: ["settings"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/settings", { signal })),
  });
  const wanted = text.toLowerCase();
  const found = data?.filter((one) => `${one.name} ${one.description}`.toLowerCase().includes(wanted));
  const source = useRows(found);
  if (error)
    return (
      <div className="p-5">
        <ErrorNote error={error} onRetry={() => void refetch()} />
      </div>
    );
  return (
    <>
      <div className="flex min-h-11 shrink-0 flex-wrap items-center gap-x-4 px-5 py-2">
        <SearchField value={text} onChange={setText} label="Search settings" />
        <p className="text-muted">
          Changed by flags, by the environment (<code>MISTUDIO_…</code>) or in <code>mistudio.toml</code>,
          when the server starts.
        </p>
      </div>
      <DataTable
        label="Server settings"
        columns={COLUMNS}
        source={source}
        id={(setting) => setting.name}
        empty={<p className="px-5 py-10 text-center text-muted">No setting fits “{text}”.</p>}
      />
    </>
  );
}

function Connection() {
  const connection = useConnection();
  const health = useQuery({
    queryKey: ["health"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/health", { signal })),
    refetchInterval: 10_000,
  });
  const ready = useQuery({
    queryKey: ["ready"],
    queryFn: async () => {
      // 503 is an answer here: its body says which part is away.
      const response = await fetch("/api/v1/ready");
      return (await response.json()) as components["schemas"]["ReadyOut"];
    },
    refetchInterval: 10_000,
  });
  const words = {
    live: ["succeeded", "live: changes arrive as they happen"],
    connecting: ["queued", "connecting"],
    polling: ["warning", "down: the state is polled every 2 s until it is back"],
    offline: ["failed", "the server does not answer"],
  } as const;
  const [state, word] = words[connection];
  return (
    <div className="max-w-2xl p-5">
      <Facts
        facts={[
          ["Events", <StateBadge key="events" state={state} word={word} />],
          [
            "Server",
            health.data ? (
              <StateBadge key="server" state="succeeded" word={`answers, version ${health.data.version}`} />
            ) : (
              <StateBadge
                key="server"
                state={health.error ? "failed" : "queued"}
                word={health.error ? "does not answer" : "asking"}
              />
            ),
          ],
          ...Object.entries(ready.data?.checks ?? {}).map(([part, trouble]): [string, React.ReactNode] => [
            part.charAt(0).toUpperCase() + part.slice(1),
            <StateBadge key={part} state={trouble ? "failed" : "succeeded"} word={trouble ?? "well"} />,
          ]),
          ["Address", <code key="address">{location.origin}</code>],
        ]}
      />
    </div>
  );
}
