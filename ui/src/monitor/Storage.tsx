import { useQuery } from "@tanstack/react-query";
import { api, body } from "@/api/client";
import { Bytes, Code, ErrorNote, format, Section, SkeletonLines, tip } from "@/kit";

/** Where a folder's name is not the word that the rest of the application uses. */
const WORDS: Record<string, string> = {
  datasets: "Data sets",
  saes: "SAEs",
  activations: "Activation caches",
  extractions: "Features",
};

/** What the data folder holds, by kind. */
export function Storage() {
  const { data, error, refetch } = useQuery({
    queryKey: ["system", "storage"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/system/storage", { signal })),
    refetchInterval: 60_000,
  });
  const kinds = [...(data?.kinds ?? [])].sort((one, other) => other.bytes - one.bytes);
  const top = Math.max(1, ...kinds.map((kind) => kind.bytes));
  return (
    <Section title="Data folder" actions={data && <Bytes value={data.total} />}>
      {error ? (
        <ErrorNote error={error} onRetry={() => void refetch()} />
      ) : data ? (
        <>
          <ul className="mb-2 flex flex-col gap-1">
            {kinds.map((kind) => (
              <li
                key={kind.kind}
                className="flex items-center gap-3"
                {...tip(`${format.exact(kind.bytes)} bytes`)}
              >
                <span className="w-28 truncate">{WORDS[kind.kind] ?? format.sentence(kind.kind)}</span>
                <span className="h-1.5 min-w-0 flex-1 overflow-hidden rounded-full bg-line">
                  <span className="block h-full bg-bar" style={{ width: `${(kind.bytes / top) * 100}%` }} />
                </span>
                <span className="w-20 text-right">{format.bytes(kind.bytes)}</span>
              </li>
            ))}
          </ul>
          <Code>{data.data_dir}</Code>
        </>
      ) : (
        <SkeletonLines />
      )}
    </Section>
  );
}
