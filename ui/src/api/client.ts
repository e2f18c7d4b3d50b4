import { QueryClient } from "@tanstack/react-query";
import createClient from "openapi-fetch";
import { Problem } from "./problem";
import type { paths } from "./schema";

/** The typed client of the web API. Every failure is thrown as a `Problem`. */
export const api = createClient<paths>({ baseUrl: "" });

api.use({
  async onResponse({ response }) {
    if (!response.ok) throw await Problem.of(response);
    return undefined;
  },
  onError({ error }) {
    return Problem.from(error);
  },
});

/** The body of a successful answer: `const page = await body(api.GET("/api/v1/jobs"))`. */
export async function body<T>(answer: Promise<{ data?: T }>): Promise<T> {
  const { data } = await answer;
  return data as T;
}

/** GET a path that the OpenAPI document does not type (the events' state, logs). */
export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await fetch(path, { signal, headers: { accept: "application/json" } }).catch((error) => {
    throw Problem.from(error);
  });
  if (!response.ok) throw await Problem.of(response);
  return (await response.json()) as T;
}

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      // Events tell us when something changed; between them what we have is the truth.
      staleTime: 30_000,
      refetchOnWindowFocus: false,
      retry: (count, error) => {
        const status = error instanceof Problem ? error.status : 0;
        return count < 2 && (status === 0 || status >= 502);
      },
    },
  },
});
