import { useNavigate } from "@tanstack/react-router";
import { api, body } from "@/api/client";
import { useRefetchOn } from "@/api/useChannel";
import { DataTable, Empty, usePages, useUrlState } from "@/kit";
import { EXTRACTION_COLUMNS } from "./columns";
import type { Extraction } from "./query";

const COLUMNS = EXTRACTION_COLUMNS.filter((column) => column.id !== "sae" && column.id !== "hook");

/** The extractions of one SAE. */
export function Extractions({ saeId }: { saeId: string }) {
  const navigate = useNavigate();
  const [sort, setSort] = useUrlState("esort", "-created_at");
  const source = usePages<Extraction>(["extractions", "of", saeId, sort], (offset, limit, signal) =>
    body(
      api.GET("/api/v1/extractions", { params: { query: { sae_id: saeId, offset, limit, sort } }, signal }),
    ),
  );
  useRefetchOn("extractions", ["extractions", "of", saeId]);
  return (
    <DataTable
      label="Extractions"
      columns={COLUMNS}
      source={source}
      id={(one) => one.id}
      sort={sort}
      onSort={setSort}
      onOpen={(one) => void navigate({ to: "/features/$id", params: { id: one.id } })}
      empty={
        <Empty title="Its features were not extracted yet">
          “Extract features” reads the tokens that it was trained on once, and keeps for each latent its
          frequency, its strongest examples and its effect on the logits.
        </Empty>
      }
    />
  );
}
