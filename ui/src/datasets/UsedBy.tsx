import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { api, body } from "@/api/client";
import { Section, SkeletonLines } from "@/kit";
import type { Tokenization } from "./Tokenizations";

/** Pages of what can be made from a tokenization. */
const PAGES: Record<string, string> = {
  training: "/trainings/$id",
  sweep: "/sweeps/$id",
  "activation cache": "/activations/$id",
  extraction: "/features/$id",
  SAE: "/saes/$id",
};

/** What was made from a tokenization. */
export function UsedBy({ tokenization }: { tokenization: Tokenization }) {
  const users = useQuery({
    queryKey: ["tokenizations", "users", tokenization.id],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/datasets/{dataset_id}/tokenizations/{key}/users", {
          params: { path: { dataset_id: tokenization.dataset_id, key: tokenization.id } },
          signal,
        }),
      ),
  });
  return (
    <Section title="Used by">
      {!users.data ? (
        <SkeletonLines lines={1} />
      ) : users.data.length === 0 ? (
        <p className="text-muted">Nothing was made from it yet.</p>
      ) : (
        <ul className="max-h-48 overflow-y-auto">
          {users.data.map((user) => {
            const to = PAGES[user.kind];
            return (
              <li key={`${user.kind} ${user.id}`} className="flex gap-2 border-b border-line/60 py-0.5">
                <span className="w-32 shrink-0 text-muted">{user.kind}</span>
                {to ? (
                  <Link to={to} params={{ id: user.id } as never} className="link min-w-0 truncate">
                    {user.name}
                  </Link>
                ) : (
                  <span className="min-w-0 truncate">{user.name}</span>
                )}
              </li>
            );
          })}
        </ul>
      )}
    </Section>
  );
}
