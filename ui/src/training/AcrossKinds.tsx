import { useId } from "react";
import { Field } from "@/kit";
import { NumbersInput } from "@/kit/severalValues";

type Grid = Record<string, unknown[]>;

/** The one setting that architectures of a grid share: how many latents are to be active, whatever each calls it. */
export function AcrossKinds({ grid, onChange }: { grid: Grid; onChange: (grid: Grid) => void }) {
  const id = useId();
  const values = grid.target_l0 ?? [];
  const sparse = ["standard", "gated"].filter((kind) => grid.architecture?.includes(kind));
  return (
    <Field
      id={id}
      label="Active latents of each"
      hint={
        "k of the top-k family and the target L0 of JumpReLU, for all architectures chosen above; several values give " +
        "one SAE each. Empty takes what each architecture starts with.\nWritten target_l0."
      }
      error={
        values.length > 0 && sparse.length > 0
          ? `${sparse.join(" and ")} has no such number: leave it empty, or that architecture out.`
          : undefined
      }
    >
      <NumbersInput
        id={id}
        values={values}
        placeholder="as each architecture starts: e.g. 16, 32, 64"
        set={(next) => {
          const { target_l0: _, ...rest } = grid;
          onChange(next.length > 0 ? { ...rest, target_l0: next } : rest);
        }}
      />
    </Field>
  );
}
