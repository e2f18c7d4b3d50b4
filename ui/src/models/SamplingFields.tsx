import { useId, useMemo } from "react";
import { useSchema } from "@/api/useSchema";
import { Section, SkeletonLines } from "@/kit";
import { problemsOf, type Value } from "@/kit/jsonSchema";
import { ObjectFields } from "@/kit/schemaFields";

const NONE: ReadonlySet<string> = new Set();

/** How texts are written: some fields of a request, as the API's own schema has them. */
export function SamplingFields<Sampling extends object>({
  schema: name,
  fields,
  value,
  onChange,
  errors,
}: {
  schema: string;
  fields: readonly string[];
  value: Sampling;
  onChange: (value: Sampling) => void;
  errors: Record<string, string>;
}) {
  const id = useId();
  const schema = useSchema(name);
  const problems = useMemo(
    () =>
      schema
        ? Object.fromEntries(
            Object.entries(problemsOf(schema.schema, value as Value, schema.resolve)).filter(([path]) =>
              fields.includes(path),
            ),
          )
        : {},
    [schema, value, fields],
  );
  return (
    <Section title="Sampling">
      {schema ? (
        <ObjectFields
          schema={schema.schema}
          resolve={schema.resolve}
          value={value as Value}
          path=""
          only={[...fields]}
          errors={{ ...errors, ...problems }}
          widgets={{}}
          kinds={{}}
          hidden={NONE}
          base={id}
          onChange={(_, next) => onChange(next as Sampling)}
        />
      ) : (
        <SkeletonLines lines={4} />
      )}
    </Section>
  );
}
