import { useQuery } from "@tanstack/react-query";
import { api, body } from "@/api/client";
import { ErrorNote, PageHeader, SkeletonLines, useSearchParams } from "@/kit";
import { OpenSession } from "./OpenSession";
import { SessionView } from "./SessionView";

const CRUMBS = [{ label: "Steering", to: "/steering" }];

/** Writing with and without features changed. The address holds session and features. */
export function SteeringPage() {
  const [search] = useSearchParams();
  const id = typeof search.session === "string" ? search.session : null;
  const { data, error, refetch } = useQuery({
    queryKey: ["steering_sessions", id],
    enabled: id !== null,
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/steering/sessions/{session_id}", {
          params: { path: { session_id: id ?? "" } },
          signal,
        }),
      ),
  });
  if (id === null) return <OpenSession />;
  if (!data)
    return (
      <>
        <PageHeader crumbs={CRUMBS} title="Session" />
        <div className="px-5 py-4">
          {error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <SkeletonLines lines={6} />}
        </div>
      </>
    );
  return <SessionView key={id} session={data} />;
}
