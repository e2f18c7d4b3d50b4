import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { api, body } from "@/api/client";
import { Button, ErrorNote, format, Num, RelativeTime, Section, SkeletonLines, tip } from "@/kit";
import { glyphs } from "@/kit/TokenStrip";
import { ScoreWords } from "@/labels/ScoreWords";
import { changeFeature } from "./changes";
import type { Feature, FeatureQuery } from "./query";
import { SourceMark } from "./SourceMark";

/** What stands beside a feature: its neighbours, its tokens, the labels it was given, and notes. */
export function FeatureSide({ feature, query }: { feature: Feature; query: FeatureQuery }) {
  return (
    <div className="flex flex-col gap-6">
      <Labels feature={feature} />
      <Notes key={feature.row.index} feature={feature} />
      <Section title="Closest by decoder">
        {feature.neighbours.length === 0 ? (
          <p className="text-muted">None.</p>
        ) : (
          <ul>
            {feature.neighbours.map((one) => (
              <li key={one.index}>
                <Link
                  to="/features/$id/$index"
                  params={{ id: feature.extraction_id, index: String(one.index) }}
                  search={{ ...query } as never}
                  className="-mx-1.5 flex h-6 items-center gap-2 rounded-[4px] px-1.5 hover:bg-hover"
                >
                  <span className="w-10 shrink-0 text-right text-xs">
                    <Num value={one.cosine} of="Cosine of the decoder directions" />
                  </span>
                  <span className="w-11 shrink-0 font-mono text-xs text-muted">{one.index}</span>
                  <span className={`min-w-0 flex-1 truncate ${one.label ? "" : "text-faint"}`}>
                    {one.label ?? "no label"}
                  </span>
                </Link>
              </li>
            ))}
          </ul>
        )}
      </Section>
      <Section title="Strongest tokens of the examples">
        <table className="w-full">
          <thead className="text-2xs text-muted">
            <tr>
              <th className="text-left font-normal">Token</th>
              <th className="text-right font-normal">Examples</th>
              <th className="text-right font-normal">Maximum</th>
            </tr>
          </thead>
          <tbody>
            {feature.token_counts.slice(0, 16).map((one) => (
              <tr key={one.token} className="h-5">
                <td className="max-w-0 truncate">
                  <code className="whitespace-pre">{glyphs(one.token)}</code>
                </td>
                <td className="w-16 text-right text-xs">{one.count}</td>
                <td className="w-16 text-right text-xs">
                  <Num value={one.max_activation} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Section>
    </div>
  );
}

/** Every label that it was given, newest first: nobody's is lost. */
function Labels({ feature }: { feature: Feature }) {
  const { extraction_id: id, row } = feature;
  const labels = useQuery({
    queryKey: ["features", id, "labels", row.index],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/extractions/{extraction_id}/features/{index}/labels", {
          params: { path: { extraction_id: id, index: row.index } },
          signal,
        }),
      ),
  });
  return (
    <Section title="Labels it was given">
      {labels.error && <ErrorNote error={labels.error} onRetry={() => void labels.refetch()} />}
      {labels.isPending && <SkeletonLines lines={2} />}
      {labels.data?.history.length === 0 && (
        <p className="text-muted">None yet: write one (Enter), or let a labelling run propose some.</p>
      )}
      <ol className="flex flex-col gap-2">
        {labels.data?.history.map((one) => (
          <li key={one.id} className="border-l-2 border-line pl-2">
            <div className={one.text === null ? "text-muted italic" : "break-words"}>
              {one.text ?? "label by hand taken away"}
            </div>
            <div className="flex flex-wrap gap-x-3 text-xs text-muted">
              <SourceMark source={one.source} score={null} />
              {one.score_detail && <ScoreWords detail={one.score_detail} />}
              <RelativeTime at={one.created_at} />
            </div>
          </li>
        ))}
      </ol>
    </Section>
  );
}

function Notes({ feature }: { feature: Feature }) {
  const { row } = feature;
  const [text, setText] = useState(row.notes);
  useEffect(() => setText(row.notes), [row.notes]);
  const changed = text !== row.notes;
  const save = () => void changeFeature(feature.extraction_id, row, { notes: text });
  return (
    <Section
      title="Notes"
      actions={
        changed && (
          <Button size="h-6 px-2" onClick={save} hint="Ctrl Enter">
            Save
          </Button>
        )
      }
    >
      <textarea
        aria-label="Notes"
        className="field"
        rows={3}
        maxLength={20000}
        value={text}
        placeholder="What speaks for and against the label"
        onChange={(event) => setText(event.target.value)}
        onBlur={() => changed && save()}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
        }}
        {...tip(changed ? "Saved when you leave the field" : null)}
      />
      <div className="text-2xs text-muted">{text.length > 0 && format.plural(text.length, "character")}</div>
    </Section>
  );
}
