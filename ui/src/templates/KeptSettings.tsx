import type { ReactNode } from "react";
import { Disclosure, Facts, format, SkeletonLines, tip } from "@/kit";
import type { JsonSchema, Value } from "@/kit/jsonSchema";
import { keptSettings, type Setting } from "./kept";
import { useKinds } from "./kinds";

/** What a template keeps, in the words of its form: first what was chosen, then what is as it would be without. */
export function KeptSettings({ kind, kept }: { kind: string; kept: Value }) {
  const form = useKinds().find((one) => one.name === kind)?.form as JsonSchema | undefined;
  if (!form) return <SkeletonLines lines={4} />;
  const groups = keptSettings(form, kept);
  const usual = groups.flatMap((group) => group.settings).filter((one) => one.usual);
  return (
    <div className="flex flex-col gap-3">
      {groups.map((group) => (
        <Group
          key={group.title ?? ""}
          title={group.title}
          settings={group.settings.filter((one) => !one.usual)}
        />
      ))}
      {usual.length > 0 && (
        <Disclosure label={`${format.plural(usual.length, "setting")} at the default`} forced={false}>
          <div className="flex flex-col gap-3">
            {groups.map((group) => (
              <Group
                key={group.title ?? ""}
                title={group.title}
                settings={group.settings.filter((one) => one.usual)}
              />
            ))}
          </div>
        </Disclosure>
      )}
    </div>
  );
}

function Group({ title, settings }: { title: string | null; settings: Setting[] }) {
  if (settings.length === 0) return null;
  return (
    <div>
      {title && <h4 className="mb-1 text-xs text-muted">{title}</h4>}
      <Facts
        facts={settings.map((one): [string, ReactNode] => [
          one.label,
          <span key={one.path} {...tip(one.hint)}>
            {one.words}
          </span>,
        ])}
      />
    </div>
  );
}
