import { useQuery, useQueryClient } from "@tanstack/react-query";
import { RotateCw } from "lucide-react";
import type { ReactNode } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { useRefetchOn } from "@/api/useChannel";
import { cancelJob, retryJob } from "@/jobs/actions";
import { JobBanner } from "@/jobs/JobState";
import { isActive, useJob } from "@/jobs/live";
import {
  Button,
  Empty,
  ErrorNote,
  format,
  RelativeTime,
  Section,
  SkeletonLines,
  tip,
  useSearchParams,
} from "@/kit";
import type { Dataset } from "./DatasetFacts";
import { LengthHistogram } from "./LengthHistogram";
import { Shares } from "./Shares";

type Statistics = components["schemas"]["StatisticsOut"];
type Definitions = Record<string, components["schemas"]["FigureInfo"]>;

/** What the text of a data set is like: every figure with its definition on hover or focus. */
export function TextStatistics({ dataset }: { dataset: Dataset }) {
  const client = useQueryClient();
  const at = { params: { path: { dataset_id: dataset.id } } };
  const key = ["dataset_statistics", dataset.id];
  const { data, error, refetch } = useQuery({
    queryKey: key,
    queryFn: ({ signal }) => body(api.GET("/api/v1/datasets/{dataset_id}/statistics", { ...at, signal })),
  });
  useRefetchOn(`dataset_statistics/${dataset.id}`, key);
  const job = useJob(data?.job);
  const compute = async () => {
    try {
      await body(api.POST("/api/v1/datasets/{dataset_id}/statistics", at));
      await client.invalidateQueries({ queryKey: key });
    } catch (problem) {
      toast.error(Problem.from(problem).detail);
    }
  };
  if (!dataset.ready) return <Empty title="Statistics are computed once the data set is complete" />;
  if (!data)
    return (
      <div className="p-5">
        {error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <SkeletonLines lines={6} />}
      </div>
    );
  const { statistics, definitions, stale } = data;
  const again = (
    <Button
      icon={<RotateCw size={14} />}
      disabled={isActive(job) || dataset.text_column === null}
      onClick={() => void compute()}
    >
      {statistics ? "Compute again" : "Compute statistics"}
    </Button>
  );
  return (
    <>
      {(isActive(job) || job?.state === "failed") && (
        <JobBanner job={job} onCancel={cancelJob} onRetry={retryJob} />
      )}
      {statistics ? (
        <div className="flex max-w-[1600px] flex-col gap-6 p-5">
          <div className="flex flex-wrap items-center gap-x-3 gap-y-1 text-muted">
            <span>
              Of the column <code className="text-ink">{statistics.text_column}</code>, computed{" "}
              <RelativeTime at={statistics.computed_at} /> in {format.duration(statistics.seconds)}
            </span>
            {stale && (
              <span className="text-warning">
                The text column is <code>{dataset.text_column}</code> now: these figures are of another
                column.
              </span>
            )}
            <span className="flex-1" />
            {again}
          </div>
          <Figures statistics={statistics} definitions={definitions} />
          <div className="grid gap-8 lg:grid-cols-2">
            <LengthHistogram lengths={statistics.characters} unit="characters" label="Characters in a row" />
            <LengthHistogram lengths={statistics.words} unit="words" label="Words in a row" />
          </div>
          <Kinds statistics={statistics} definitions={definitions} />
          <Repeated statistics={statistics} />
          <Characters statistics={statistics} />
        </div>
      ) : (
        !isActive(job) && (
          <Empty title="No statistics yet" action={again}>
            Rows, characters, words, lengths, duplicates, languages and characters of the text, in one pass.
          </Empty>
        )
      )}
    </>
  );
}

/** A title with the definition of what stands under it. */
function Defined({ info, children }: { info: Definitions[string] | undefined; children: ReactNode }) {
  return (
    <section className="min-w-0">
      <h2 className="mb-1.5 w-max font-semibold">
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: the definition must be reachable by keyboard. */}
        <span tabIndex={0} className="rounded-[3px]" {...tip(info && definitionWords(info))}>
          {info?.title}
          {info && !info.exact && <span className="font-normal text-muted"> ≈</span>}
        </span>
      </h2>
      {children}
    </section>
  );
}

const definitionWords = (info: Definitions[string]) =>
  `${info.definition}\n${info.exact ? "Exact: every row was counted." : "An estimate."}`;

function Figures({ statistics, definitions }: { statistics: Statistics; definitions: Definitions }) {
  const { rows, duplicates, near_duplicates: near } = statistics;
  const share = (count: number) => (rows > 0 ? format.percent(count / rows) : "");
  const estimated = near.compared < near.candidates;
  const figures: [key: string, value: string, detail: string, exact: string][] = [
    ["rows", format.figure(rows), "", format.exact(rows)],
    [
      "words",
      format.figure(statistics.words.total),
      `${format.figure(statistics.words.mean)} a row`,
      format.exact(statistics.words.total),
    ],
    [
      "characters",
      format.figure(statistics.characters.total),
      `${format.figure(statistics.characters.mean)} a row`,
      format.exact(statistics.characters.total),
    ],
    ["bytes", format.bytes(statistics.bytes), "", format.exact(statistics.bytes)],
    [
      "empty",
      format.figure(statistics.empty),
      statistics.missing > 0 ? `${format.figure(statistics.missing)} of them null` : share(statistics.empty),
      format.exact(statistics.empty),
    ],
    ["blank", format.figure(statistics.blank), share(statistics.blank), format.exact(statistics.blank)],
    ["duplicates", format.figure(duplicates.rows), share(duplicates.rows), format.exact(duplicates.rows)],
    [
      "near_duplicates",
      `≈ ${format.figure(near.rows)}`,
      estimated ? `± ${format.figure(near.standard_error)}` : share(near.rows),
      `${format.exact(near.rows)}${estimated ? ` ± ${format.exact(Math.round(near.standard_error))} (standard error)` : ""}; ${format.exact(near.compared)} of ${format.exact(near.candidates)} candidates were compared, among ${format.exact(near.considered)} differing rows`,
    ],
  ];
  return (
    <div className="grid grid-cols-2 gap-px overflow-hidden rounded-[7px] border border-line bg-line sm:grid-cols-4 xl:grid-cols-8">
      {figures.map(([key, value, detail, exact]) => {
        const info = definitions[key];
        return (
          <div
            key={key}
            // biome-ignore lint/a11y/noNoninteractiveTabindex: the definition must be reachable by keyboard.
            tabIndex={0}
            className="min-w-0 bg-surface px-3 py-2 focus-visible:outline-offset-[-2px]"
            {...tip(info && `${definitionWords(info)}\nHere: ${exact}`)}
          >
            <div className="truncate text-2xs text-muted">{info?.title}</div>
            <div className="truncate text-lg font-medium">{value}</div>
            <div className="truncate text-2xs text-muted">{detail || "\u00a0"}</div>
          </div>
        );
      })}
    </div>
  );
}

const names = new Intl.DisplayNames(["en"], { type: "language" });
const SPECIAL: Record<string, string> = { short: "too short to tell", uncertain: "uncertain" };

function languageName(code: string): string {
  if (code in SPECIAL) return SPECIAL[code] ?? code;
  return code.length <= 3 ? (names.of(code) ?? code) : code;
}

function Kinds({ statistics, definitions }: { statistics: Statistics; definitions: Definitions }) {
  const { languages, character_classes: characters } = statistics;
  return (
    <div className="grid gap-8 md:grid-cols-3">
      <Defined info={definitions.languages}>
        <Shares shares={languages.shares} unit="sampled rows" name={languageName} />
        <p className="mt-1.5 text-2xs text-muted">
          {languages.sampled < statistics.rows
            ? `Of ${format.plural(languages.sampled, "random row")}, each share ± ${format.percent(languages.standard_error)} (standard error)`
            : "Of all rows"}
        </p>
      </Defined>
      <Defined info={definitions.character_classes}>
        <Shares shares={characters.classes} unit="characters" />
      </Defined>
      <Defined info={definitions.scripts}>
        <Shares shares={characters.scripts} unit="letters" most={7} />
      </Defined>
    </div>
  );
}

/** A row's number that leads to the row. */
function RowLink({ row }: { row: number }) {
  const [, change] = useSearchParams();
  return (
    <button
      type="button"
      className="inline-flex min-h-6 min-w-6 items-center justify-end rounded-[3px] link"
      onClick={() => change({ tab: "samples", rows: undefined, row }, { push: true })}
    >
      {format.exact(row)}
    </button>
  );
}

function Repeated({ statistics }: { statistics: Statistics }) {
  const { duplicates, near_duplicates: near } = statistics;
  if (duplicates.most_repeated.length === 0 && near.examples.length === 0) return null;
  return (
    <div className="grid gap-8 lg:grid-cols-2">
      {duplicates.most_repeated.length > 0 && (
        <Section title="Most repeated texts">
          <table className="w-full table-fixed text-left">
            <thead className="text-xs text-muted">
              <tr>
                <th className="w-16 text-right font-normal">Times</th>
                <th className="w-24 px-3 text-right font-normal">First row</th>
                <th className="font-normal">Text</th>
              </tr>
            </thead>
            <tbody>
              {duplicates.most_repeated.map((one) => (
                <tr key={one.first_row} className="border-t border-line/60">
                  <td className="text-right">{format.figure(one.count)}</td>
                  <td className="px-3 text-right">
                    <RowLink row={one.first_row} />
                  </td>
                  <td className="truncate">{one.text}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Section>
      )}
      {near.examples.length > 0 && (
        <Section title="Near duplicates, for example">
          <table className="w-full table-fixed text-left">
            <thead className="text-xs text-muted">
              <tr>
                <th className="w-20 text-right font-normal">Row</th>
                <th className="w-20 text-right font-normal">like row</th>
                <th
                  className="w-20 text-right font-normal"
                  {...tip("Jaccard similarity of their 5-word shingles")}
                >
                  Similarity
                </th>
                <th className="pl-3 font-normal">Text</th>
              </tr>
            </thead>
            <tbody>
              {near.examples.slice(0, 10).map((one) => (
                <tr key={one.row} className="border-t border-line/60">
                  <td className="text-right">
                    <RowLink row={one.row} />
                  </td>
                  <td className="text-right">
                    <RowLink row={one.earlier_row} />
                  </td>
                  <td className="text-right">{format.figure(one.similarity)}</td>
                  <td className="truncate pl-3">{one.text}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Section>
      )}
    </div>
  );
}

function Characters({ statistics }: { statistics: Statistics }) {
  const { character_classes: found } = statistics;
  const chips = (some: components["schemas"]["CharacterOut"][]) => (
    <div className="flex flex-wrap gap-1">
      {some.map((one) => (
        <span
          key={one.name}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: what it is must be reachable by keyboard.
          tabIndex={0}
          className="inline-flex items-baseline gap-1.5 rounded-[4px] border border-line bg-surface px-1.5"
          {...tip(`${one.name}\n${format.plural(one.count, "time")}`)}
        >
          <code>{/[\s\p{C}]/u.test(one.character) ? shortName(one) : one.character}</code>
          <span className="text-2xs text-muted">{format.figure(one.count)}</span>
        </span>
      ))}
    </div>
  );
  return (
    <div className="grid gap-8 lg:grid-cols-2">
      <Section title={`Most frequent of ${format.plural(found.distinct, "different character")}`}>
        {chips(found.most_frequent)}
      </Section>
      <Section title="Characters that clean text rarely holds">
        {found.suspect.length > 0 ? (
          chips(found.suspect)
        ) : (
          <p className="text-muted">None: no control characters, no U+FFFD.</p>
        )}
      </Section>
    </div>
  );
}

function shortName(one: { character: string; name: string }): string {
  const known: Record<string, string> = { " ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍" };
  const code = one.character.codePointAt(0) ?? 0;
  return known[one.character] ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}
