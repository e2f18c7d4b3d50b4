import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";

/** From an SAE to its features: starts an extraction with the usual settings and goes there. */
export function useExtract(): { busy: boolean; run: (saeId: string) => Promise<void> } {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [busy, setBusy] = useState(false);
  const run = async (saeId: string) => {
    setBusy(true);
    try {
      const made = await body(
        api.POST("/api/v1/saes/{sae_id}/extractions", { params: { path: { sae_id: saeId } }, body: null }),
      );
      void client.invalidateQueries({ queryKey: ["extractions"] });
      await navigate({ to: "/features/$id", params: { id: made.id } });
    } catch (error) {
      const problem = Problem.from(error);
      toast.error(problem.detail, { description: problem.hint ?? undefined });
    } finally {
      setBusy(false);
    }
  };
  return { busy, run };
}
