import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { ChevronLeft, ChevronRight } from "lucide-react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { CopyButton, ErrorNote, format, IconButton, SidePanel, SkeletonLines, useKeys } from "@/kit";
import type { Dataset } from "./DatasetFacts";
import { LongText } from "./LongText";
import type { Search } from "./SampleRows";

/** One row in full: the text first, matches marked, long texts folded; its neighbours one key away. */
export function WholeRow({
  dataset,
  index,
  search,
  onGo,
  onClose,
}: {
  dataset: Dataset;
  index: number;
  search: Search;
  onGo: (row: number) => void;
  onClose: () => void;
}) {
  const { q, mode } = search;
  const row = useQuery({
    queryKey: ["datasets", dataset.id, "rows", "one", index, q, mode],
    queryFn: async ({ signal }) => {
      const read = (query: { q?: string; mode?: Search["mode"] }) =>
        body(
          api.GET("/api/v1/datasets/{dataset_id}/rows/{index}", {
            params: { path: { dataset_id: dataset.id, index }, query },
            signal,
          }),
        );
      try {
        return await read(q ? { q, mode } : {});
      } catch (error) {
        // The list says what is wrong with the query; the row is shown all the same.
        if (Problem.from(error).code === "query_invalid") return read({});
        throw error;
      }
    },
    placeholderData: keepPreviousData,
    retry: false,
  });
  const last = (dataset.rows ?? 1) - 1;
  useKeys("Row", [
    { keys: "[", label: "the row before", run: () => index > 0 && onGo(index - 1) },
    { keys: "]", label: "the row after", run: () => index < last && onGo(index + 1) },
  ]);
  const values = Object.entries(row.data?.values ?? {});
  values.sort(
    ([one], [other]) => Number(other === dataset.text_column) - Number(one === dataset.text_column),
  );
  const marks = row.data?.marks ?? [];
  return (
    <SidePanel
      title={`Row ${format.exact(index)}`}
      onClose={onClose}
      actions={
        <>
          <IconButton label="The row before ( [ )" disabled={index === 0} onClick={() => onGo(index - 1)}>
            <ChevronLeft size={15} />
          </IconButton>
          <IconButton label="The row after ( ] )" disabled={index >= last} onClick={() => onGo(index + 1)}>
            <ChevronRight size={15} />
          </IconButton>
        </>
      }
    >
      {row.error ? (
        <ErrorNote error={row.error} />
      ) : row.data ? (
        <div className="flex flex-col gap-4">
          {values.map(([name, value]) => {
            const text = typeof value === "string" ? value : JSON.stringify(value, null, 1);
            const own = name === dataset.text_column ? marks : [];
            return (
              <section key={name}>
                <h3 className="flex min-h-5 items-center gap-1.5 text-xs text-muted">
                  {name}
                  {value !== null && <CopyButton text={text} label={`Copy ${name}`} />}
                  {typeof value === "string" && (
                    <span className="ml-auto">{format.plural([...value].length, "character")}</span>
                  )}
                </h3>
                {value === null ? (
                  <span className="text-faint">null</span>
                ) : text === "" ? (
                  <span className="text-faint">empty</span>
                ) : (
                  <LongText key={`${row.data.index} ${q} ${mode}`} text={text} marks={own} />
                )}
              </section>
            );
          })}
        </div>
      ) : (
        <SkeletonLines />
      )}
    </SidePanel>
  );
}
