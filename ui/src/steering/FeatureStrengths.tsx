import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { X } from "lucide-react";
import { useId } from "react";
import { fetchFeatures } from "@/features/query";
import { TokenChips } from "@/features/TokenChips";
import { format, IconButton, Section, tip } from "@/kit";
import type { Chosen, Mode } from "./chosen";
import { FeaturePicker } from "./FeaturePicker";
import type { Session } from "./OpenSession";

const REACH = 3;
const MODES: Record<Mode, string> = {
  add: "Adds strength × the latent's decoder direction at every steered token",
  clamp: "Sets the latent to this strength, whatever it was; 0 ablates it",
};

/** The features that are changed, each with how and how strongly. */
export function FeatureStrengths({
  session,
  chosen,
  onChange,
  errors,
}: {
  session: Session;
  chosen: Chosen[];
  onChange: (chosen: Chosen[]) => void;
  errors: Record<string, string>;
}) {
  const change = (place: number, next: Partial<Chosen>) =>
    onChange(chosen.map((one, index) => (index === place ? { ...one, ...next } : one)));
  return (
    <Section title="Features">
      <div className="flex flex-col gap-3">
        <FeaturePicker
          session={session}
          chosen={chosen}
          onAdd={(sae, index) => onChange([...chosen, { sae, index, strength: 1, mode: "add" }])}
        />
        {chosen.length === 0 && (
          <p className="text-muted">
            Look for a feature by its label, by a token that it fires on, or by #number, and set how strongly
            it is to be felt.
          </p>
        )}
        <ul className="flex flex-col gap-3">
          {chosen.map((one, place) => (
            <Strength
              key={`${one.sae}-${one.index}`}
              session={session}
              value={one}
              error={Object.entries(errors).find(([path]) => path.startsWith(`features.${place}`))?.[1]}
              onChange={(next) => change(place, next)}
              onRemove={() => onChange(chosen.filter((_, index) => index !== place))}
            />
          ))}
        </ul>
      </div>
    </Section>
  );
}

function Strength({
  session,
  value,
  error,
  onChange,
  onRemove,
}: {
  session: Session;
  value: Chosen;
  error: string | undefined;
  onChange: (next: Partial<Chosen>) => void;
  onRemove: () => void;
}) {
  const id = useId();
  const sae = session.saes.find((one) => one.id === value.sae);
  const extraction = sae?.extraction_id ?? null;
  const { data: row } = useQuery({
    queryKey: ["features", extraction, "row", value.index],
    enabled: extraction !== null,
    queryFn: async ({ signal }) =>
      (await fetchFeatures(extraction ?? "", { q: `#${value.index}`, sort: "index" }, 0, 1, signal))
        .items[0] ?? null,
  });
  const maximum = row?.max_activation;
  const unit = extraction === null ? "in the latent's own scale" : "× its maximum";
  const absolute = maximum === undefined ? null : value.strength * maximum;
  return (
    <li className="rounded-[6px] border border-line bg-surface px-3 pt-2 pb-2.5">
      <div className="flex items-start gap-2">
        <div className="min-w-0 flex-1">
          {extraction === null ? (
            <span className="font-mono text-xs">#{value.index}</span>
          ) : (
            <Link
              to="/features/$id/$index"
              params={{ id: extraction, index: String(value.index) }}
              className="font-mono text-xs link"
            >
              #{value.index}
            </Link>
          )}
          {session.saes.length > 1 && <span className="ml-2 text-xs text-muted">{sae?.hook}</span>}
          <div className="truncate" {...tip(row?.label)}>
            {row?.label ??
              (row ? <TokenChips tokens={row.top_tokens} /> : <span className="text-faint">…</span>)}
          </div>
        </div>
        <IconButton label={`Remove feature ${value.index}`} size="size-6" onClick={onRemove}>
          <X size={14} />
        </IconButton>
      </div>
      <div className="mt-1.5 flex items-center gap-2">
        <select
          aria-label={`How feature ${value.index} is changed`}
          className="field w-[74px] shrink-0"
          value={value.mode}
          onChange={(event) => onChange({ mode: event.target.value as Mode })}
          {...tip(MODES[value.mode])}
        >
          <option value="add">add</option>
          <option value="clamp">clamp</option>
        </select>
        <input
          type="range"
          aria-label={`Strength of feature ${value.index}, ${unit}`}
          className="min-w-0 flex-1 accent-accent"
          min={-REACH}
          max={REACH}
          step={0.05}
          list={`${id}-stops`}
          value={value.strength}
          onChange={(event) => onChange({ strength: Number(event.target.value) })}
        />
        <datalist id={`${id}-stops`}>
          <option value="0" />
        </datalist>
        <input
          aria-label={`Strength of feature ${value.index} as a number`}
          className="field w-[60px] shrink-0 text-right"
          type="number"
          step={0.05}
          value={value.strength}
          onChange={(event) => {
            if (event.target.value !== "") onChange({ strength: Number(event.target.value) });
          }}
        />
      </div>
      <div className="mt-1 flex justify-between text-2xs text-muted">
        <span>{unit}</span>
        {absolute !== null && (
          <span>{`${value.mode === "add" ? "adds" : "sets to"} ${format.figure(absolute)}`}</span>
        )}
      </div>
      {row && row.max_activation <= 0 && (
        <p className="mt-1 text-xs text-warning">
          It never fired, so there is no maximum to measure its strength in: choose another.
        </p>
      )}
      {error && (
        <p role="alert" className="mt-1 text-xs text-failed">
          {error}
        </p>
      )}
    </li>
  );
}
