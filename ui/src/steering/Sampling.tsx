import type { components } from "@/api/schema";
import { SamplingFields } from "@/models/SamplingFields";

type Request = components["schemas"]["GenerateRequest"];

const FIELDS = [
  "max_new_tokens",
  "temperature",
  "top_p",
  "seed",
  "positions",
  "compare",
  "steer_special_tokens",
  "stop",
] as const;
export type SamplingValue = Partial<Pick<Request, (typeof FIELDS)[number]>>;

/** Sampling as a request had it, or as a first try likes it. */
export function startSampling(request?: Request): SamplingValue {
  if (!request)
    return {
      max_new_tokens: 64,
      temperature: 0,
      top_p: 1,
      seed: 0,
      positions: "all",
      compare: true,
      steer_special_tokens: false,
      stop: [],
    };
  return Object.fromEntries(FIELDS.map((name) => [name, request[name]]));
}

/** How the texts are written. The fields are the API's own. */
export function Sampling(props: {
  value: SamplingValue;
  onChange: (value: SamplingValue) => void;
  errors: Record<string, string>;
}) {
  return <SamplingFields schema="GenerateRequest" fields={FIELDS} {...props} />;
}
