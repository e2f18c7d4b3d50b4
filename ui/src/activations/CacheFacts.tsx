import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { api, body } from "@/api/client";
import { JobCell } from "@/jobs/JobState";
import { Bytes, Code, Facts, format, Num, RelativeTime, Section, SettingFacts, SkeletonLines } from "@/kit";
import type { Cache } from "./columns";

/** What a cache holds, of what, and how it was made. */
export function CacheFacts({ cache }: { cache: Cache }) {
  const { statistics } = cache;
  return (
    <div className="flex flex-col gap-5">
      <Facts
        facts={[
          ["Id", <Code key="id">{cache.id}</Code>],
          [
            "Model",
            <Link key="model" to="/models/$id" params={{ id: cache.model_id }} className="link">
              {cache.model_name}
            </Link>,
          ],
          [
            "Tokens of",
            <Link key="data" to="/datasets/$id" params={{ id: cache.dataset_id }} className="link">
              {cache.dataset_name} / {cache.tokenization_name}
            </Link>,
          ],
          ["Kept as", cache.dtype],
          ["Activations", <Num key="tokens" value={cache.n_tokens} unit="tokens" />],
          ["On disk", <Bytes key="bytes" value={cache.bytes} />],
          ...(statistics
            ? ([
                ["Left out: special", <Num key="special" value={statistics.tokens_special} unit="tokens" />],
                ["Left out: padding", <Num key="padding" value={statistics.tokens_padding} unit="tokens" />],
                [
                  "Left out: outliers",
                  <Num key="outliers" value={statistics.tokens_outlier} unit="tokens" />,
                ],
                [
                  "Took",
                  `${format.duration(statistics.seconds)} (${format.rate(statistics.tokens_seen / Math.max(statistics.seconds, 1e-9), "tokens")})`,
                ],
              ] as [string, ReactNode][])
            : []),
        ]}
      />
      <Section title={format.plural(cache.hooks.length, "hook point")}>
        <ul className="flex max-h-48 flex-col gap-1 overflow-y-auto">
          {cache.hooks.map((hook) => (
            <li key={hook} className="min-h-6">
              <Code>{hook}</Code>
            </li>
          ))}
        </ul>
      </Section>
      <Section title="Settings">
        <SettingFacts settings={cache.settings} />
      </Section>
    </div>
  );
}

/** What trains on it, and every attempt to harvest it. */
export function CacheHistory({ cache }: { cache: Cache }) {
  const users = useQuery({
    queryKey: ["activation_caches", cache.id, "users"],
    queryFn: () =>
      body(api.GET("/api/v1/activations/{cache_id}/users", { params: { path: { cache_id: cache.id } } })),
  });
  const jobs = useQuery({
    queryKey: ["jobs", "of", cache.id, cache.job?.state, cache.job?.attempt],
    queryFn: () =>
      body(
        api.GET("/api/v1/jobs", {
          params: { query: { subject: `activation_caches/${cache.id}`, limit: 50 } },
        }),
      ),
  });
  return (
    <div className="flex flex-col gap-5">
      <Section title="Trained on it">
        {!users.data ? (
          <SkeletonLines lines={1} />
        ) : users.data.length === 0 ? (
          <p className="text-muted">Nothing yet. Deleting it takes nothing else with it.</p>
        ) : (
          <ul className="flex flex-col gap-1">
            {users.data.map((user) => (
              <li key={user.id}>
                {user.kind === "training" ? (
                  <Link to="/trainings/$id" params={{ id: user.id }} className="link">
                    {user.name}
                  </Link>
                ) : (
                  user.name
                )}{" "}
                <span className="text-muted">({user.kind})</span>
              </li>
            ))}
          </ul>
        )}
      </Section>
      <Section title="History">
        {!jobs.data ? (
          <SkeletonLines lines={2} />
        ) : (
          <table className="w-full max-w-2xl text-left">
            <thead className="text-xs text-muted">
              <tr className="h-7 border-b border-line [&>th]:px-2 [&>th]:font-normal">
                <th>Job</th>
                <th>State</th>
                <th className="text-right">Attempts</th>
                <th>Started</th>
                <th className="text-right">Took</th>
              </tr>
            </thead>
            <tbody>
              {jobs.data.items.map((job) => (
                <tr key={job.id} className="h-(--row) border-b border-line/60 [&>td]:px-2">
                  <td>
                    <Link to="/jobs/$id" params={{ id: job.id }} className="link">
                      <code>{job.id}</code>
                    </Link>
                  </td>
                  <td>
                    <JobCell job={job} done />
                  </td>
                  <td className="text-right">{job.attempt}</td>
                  <td>
                    <RelativeTime at={job.started_at} />
                  </td>
                  <td className="text-right">
                    {job.started_at && job.finished_at
                      ? format.duration(
                          (format.parseTime(job.finished_at).getTime() -
                            format.parseTime(job.started_at).getTime()) /
                            1000,
                        )
                      : "–"}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Section>
    </div>
  );
}
