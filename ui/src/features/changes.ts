import { toast } from "sonner";
import { api, body, queryClient } from "@/api/client";
import { Problem } from "@/api/problem";
import { type FeatureRow, patchRow } from "./query";

const at = (id: string, index: number) => ({ params: { path: { extraction_id: id, index } } });

/** Star or annotate; shown at once, taken back when the server refuses. */
export async function changeFeature(
  id: string,
  row: FeatureRow,
  change: { starred?: boolean; notes?: string },
): Promise<void> {
  patchRow(id, row.index, change);
  try {
    await body(
      api.PATCH("/api/v1/extractions/{extraction_id}/features/{index}", {
        ...at(id, row.index),
        body: change,
      }),
    );
    void queryClient.invalidateQueries({ queryKey: ["extractions", id] });
  } catch (error) {
    patchRow(id, row.index, { starred: row.starred, notes: row.notes });
    const problem = Problem.from(error);
    toast.error(problem.detail, { description: problem.hint ?? undefined });
  }
}

/** A label by hand, or none: then a machine's label, where there is one, is in force again. */
export async function writeLabel(id: string, index: number, text: string | null): Promise<void> {
  const found =
    text === null
      ? await body(api.DELETE("/api/v1/extractions/{extraction_id}/features/{index}/label", at(id, index)))
      : await body(
          api.PUT("/api/v1/extractions/{extraction_id}/features/{index}/label", {
            ...at(id, index),
            body: { text },
          }),
        );
  patchRow(id, index, {
    label: found.label,
    label_source: found.label_source,
    label_score: found.label_score,
  });
  queryClient.setQueryData(["features", id, "labels", index], found);
  void queryClient.invalidateQueries({ queryKey: ["extractions", id] });
}
