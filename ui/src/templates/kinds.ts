import { useQuery } from "@tanstack/react-query";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";

export type Kind = components["schemas"]["TemplateKindOut"];

/** The kinds of templates, with their forms. */
export function useKinds(): Kind[] {
  const { data } = useQuery({
    queryKey: ["templates", "kinds"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/templates/kinds", { signal })),
  });
  return data ?? [];
}
