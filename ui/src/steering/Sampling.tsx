import { useId, useMemo } from "react";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { Section, SkeletonLines } from "@/kit";
import { problemsOf, type Value } from "@/kit/jsonSchema";
import { ObjectFields } from "@/kit/schemaFields";

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
export function Sampling({
  value,
  onChange,
  errors,
}: {
  value: SamplingValue;
  onChange: (value: SamplingValue) => void;
  errors: Record<string, string>;
}) {
  const id = useId();
  const schema = useSchema("GenerateRequest");
  const problems = useMemo(
    () =>
      schema
        ? Object.fromEntries(
            Object.entries(problemsOf(schema.schema, value as Value, schema.resolve)).filter(([path]) =>
              FIELDS.some((name) => name === path),
            ),
          )
        : {},
    [schema, value],
  );
  return (
    <Section title="Sampling">
      {schema ? (
        <ObjectFields
          schema={schema.schema}
          resolve={schema.resolve}
          value={value as Value}
          path=""
          only={[...FIELDS]}
          errors={{ ...errors, ...problems }}
          widgets={{}}
          kinds={{}}
          hidden={NONE}
          base={id}
          onChange={(_, next) => onChange(next as SamplingValue)}
        />
      ) : (
        <SkeletonLines lines={4} />
      )}
    </Section>
  );
}

const NONE: ReadonlySet<string> = new Set();
