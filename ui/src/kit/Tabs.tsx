import { Tabs as Radix } from "radix-ui";
import type { ReactNode } from "react";
import { figure } from "./format";
import { useUrlState } from "./url";

export interface Tab {
  id: string;
  label: string;
  count?: number | null;
  /** Rendered only while the tab is shown. */
  content: () => ReactNode;
}

/** Tabs whose choice stands in the address (`?tab=`). The first is the default. */
export function Tabs({ tabs, label, param = "tab" }: { tabs: Tab[]; label: string; param?: string }) {
  const first = tabs[0]?.id ?? "";
  const [chosen, choose] = useUrlState(param, first, { push: true });
  const value = tabs.some((tab) => tab.id === chosen) ? chosen : first;
  return (
    <Radix.Root value={value} onValueChange={choose} className="flex min-h-0 flex-1 flex-col">
      <Radix.List
        aria-label={label}
        className="flex shrink-0 gap-4 overflow-x-auto border-b border-line px-5"
      >
        {tabs.map((tab) => (
          <Radix.Trigger
            key={tab.id}
            value={tab.id}
            className="-mb-px h-8 shrink-0 border-b-2 border-transparent text-muted hover:text-ink data-[state=active]:border-accent data-[state=active]:font-medium data-[state=active]:text-ink"
          >
            {tab.label}
            {tab.count !== undefined && tab.count !== null && (
              <span className="ml-1.5 text-xs font-normal text-muted">{figure(tab.count)}</span>
            )}
          </Radix.Trigger>
        ))}
      </Radix.List>
      {tabs.map((tab) => (
        <Radix.Content
          key={tab.id}
          value={tab.id}
          className="flex min-h-0 flex-1 flex-col overflow-y-auto outline-none"
        >
          {tab.id === value && tab.content()}
        </Radix.Content>
      ))}
    </Radix.Root>
  );
}
