import { useQuery } from "@tanstack/react-query";
import { type JsonSchema, type Resolve, resolver } from "@/kit/jsonSchema";
import { getJson } from "./client";

/** A schema of the API by name, as the server that one talks to has it, for `SchemaForm`. */
export function useSchema(name: string): { schema: JsonSchema; resolve: Resolve } | undefined {
  const document = useQuery({
    queryKey: ["openapi"],
    queryFn: ({ signal }) => getJson<object>("/api/openapi.json", signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (!document.data) return undefined;
  const resolve = resolver(document.data);
  return { schema: resolve(`#/components/schemas/${name}`), resolve };
}
