import { useState } from "react";
import { format, LongName, tip } from "@/kit";
import { seriesColour } from "@/kit/chart/colours";
import { type Comparison, comparedWords } from "./comparison";
import { shortNames } from "./differences";
import { useFieldTitles } from "./runs";

/** The configuration reduced to where the runs differ; what they share is behind a switch. */
export function CompareSettings({ data }: { data: Comparison }) {
  const [shared, setShared] = useState(false);
  const names = shortNames(data.trainings);
  const same = Object.entries(data.shared);
  const titleOf = useFieldTitles();
  return (
    <div className="min-h-0 flex-1 overflow-auto px-5 pb-5">
      <div className="flex h-10 items-center gap-4 text-muted">
        <span>
          {format.plural(data.settings.length, "setting")} differ{data.settings.length === 1 ? "s" : ""},{" "}
          {format.figure(same.length)} are the same.
        </span>
        <label className="flex items-center gap-1.5">
          <input
            type="checkbox"
            className="accent-accent"
            checked={shared}
            onChange={(event) => setShared(event.target.checked)}
          />
          Show what they share
        </label>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls sideways must be reachable by keyboard. */}
      <section className="overflow-x-auto" tabIndex={0} aria-label="Settings of the runs">
        <table className="border-separate border-spacing-0 text-sm whitespace-nowrap">
          <thead>
            <tr className="text-xs text-muted">
              <th
                scope="col"
                className="sticky left-0 border-b border-line bg-canvas py-1 pr-4 text-left font-normal"
              >
                Setting
              </th>
              {data.trainings.map((run, place) => (
                <th
                  key={run.id}
                  scope="col"
                  className="border-b border-line px-3 text-left font-normal"
                  {...tip(run.name)}
                >
                  <span className="flex items-center gap-1.5">
                    <span
                      aria-hidden="true"
                      className="h-3 w-1 rounded-full"
                      style={{ background: seriesColour(place) }}
                    />
                    <span className="flex max-w-64 min-w-0">
                      <LongName name={names[place] ?? run.name} />
                    </span>
                  </span>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {data.settings.map((setting) => (
              <tr key={setting.name} className="group">
                <th
                  scope="row"
                  className="sticky left-0 border-b border-line/60 bg-canvas py-1 pr-4 text-left font-medium group-hover:bg-hover"
                  {...tip(setting.description)}
                >
                  {setting.title}
                  {setting.unit && <span className="font-normal text-faint"> ({setting.unit})</span>}
                </th>
                {setting.values.map((value, place) => (
                  <td
                    key={data.trainings[place]?.id}
                    className="border-b border-line/60 px-3 group-hover:bg-hover"
                  >
                    {comparedWords(setting.name, value)}
                  </td>
                ))}
              </tr>
            ))}
            {data.changes.some(Boolean) && (
              <tr>
                <th
                  scope="row"
                  className="sticky left-0 border-b border-line/60 bg-canvas py-1 pr-4 text-left font-medium"
                  {...tip("The settings above are those that each run began with.")}
                >
                  Changed while it trained
                </th>
                {data.changes.map((said, place) => (
                  <td
                    key={data.trainings[place]?.id}
                    className="min-w-44 border-b border-line/60 px-3 py-1 align-top"
                  >
                    {said || "–"}
                  </td>
                ))}
              </tr>
            )}
            {shared &&
              same.map(([name, value]) => (
                <tr key={name} className="text-muted">
                  <th
                    scope="row"
                    className="sticky left-0 border-b border-line/60 bg-canvas py-1 pr-4 text-left font-normal"
                  >
                    {titleOf(name)}
                  </th>
                  <td colSpan={data.trainings.length} className="border-b border-line/60 px-3">
                    {comparedWords(name, value)}
                  </td>
                </tr>
              ))}
          </tbody>
        </table>
      </section>
      {data.settings.length === 0 && (
        <p className="py-6 text-muted">
          These runs {data.changes.some(Boolean) ? "began with" : "have"} the same settings.
        </p>
      )}
    </div>
  );
}
