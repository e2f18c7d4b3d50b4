import { useQuery, useQueryClient } from "@tanstack/react-query";
import { ChevronLeft, ChevronRight, Eye } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import { Button, ErrorNote, format, IconButton, Num, SkeletonLines, TokenStrip, tip } from "@/kit";

type Looks = components["schemas"]["Looks"];
type LookedAt = components["schemas"]["LookedAt"];

const FORMULA = "f = tokens of the sample with z ≠ 0 / tokens of the sample";
const SHOWN = 3;

/** What a few latents fire on while they are learned: the newest look, or an earlier one. */
export function EarlyFeatures({ id, active }: { id: string; active: boolean }) {
  const [chosen, choose] = useState<number | null>(null);
  const { data, error, refetch } = useQuery<Looks>({
    queryKey: ["trainings", id, "looks", chosen],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/trainings/{training_id}/looks", {
          params: { path: { training_id: id }, query: chosen === null ? {} : { step: chosen } },
          signal,
        }),
      ),
    refetchInterval: active && chosen === null ? 3000 : false,
    placeholderData: (before) => before,
  });
  if (error && !data)
    return (
      <ErrorNote
        error={error}
        onRetry={() => {
          choose(null);
          void refetch();
        }}
      />
    );
  if (!data) return <SkeletonLines lines={6} />;
  const { look, steps } = data;
  const place = look ? steps.indexOf(look.step) : -1;
  const go = (to: number) => choose(to >= steps.length - 1 ? null : (steps[to] ?? null));
  return (
    <section aria-label="Early features" className="min-w-0">
      <div className="mb-2 flex flex-wrap items-center gap-x-3 gap-y-2">
        <h2
          className="font-semibold"
          {...tip(
            "Latents of the dictionary as it was after this step, on tokens that training draws from. They are chosen evenly over the logarithm of their frequency and stay the same, so that one can see them become something; one that stays silent gives its place to another.",
          )}
        >
          Early features
        </h2>
        {look && (
          <span className="flex items-center text-muted">
            <IconButton label="Earlier look" disabled={place <= 0} onClick={() => go(place - 1)}>
              <ChevronLeft size={14} />
            </IconButton>
            <input
              type="range"
              aria-label="Look after step"
              aria-valuetext={`step ${look.step}`}
              className="w-40 accent-accent"
              min={0}
              max={steps.length - 1}
              value={place}
              onChange={(event) => go(Number(event.target.value))}
            />
            <IconButton label="Later look" disabled={place >= steps.length - 1} onClick={() => go(place + 1)}>
              <ChevronRight size={14} />
            </IconButton>
            <span className="ml-1">
              Step {format.figure(look.step)}, on {format.figure(look.sample_tokens)} tokens
              {chosen === null && active && " · newest"}
            </span>
          </span>
        )}
        <span className="flex-1" />
        <Ask id={id} asked={data.asked} active={active} />
      </div>
      {look ? (
        <ul className="grid gap-x-8 2xl:grid-cols-2">
          {look.latents.map((latent) => (
            <Latent key={latent.latent} latent={latent} />
          ))}
        </ul>
      ) : (
        <p className="py-4 text-muted">
          {active ? "The first look comes a few steps into the training." : "No look was taken."}
        </p>
      )}
    </section>
  );
}

function Latent({ latent }: { latent: LookedAt }) {
  const [all, setAll] = useState(false);
  const shown = all ? latent.examples : latent.examples.slice(0, SHOWN);
  const more = latent.examples.length - SHOWN;
  return (
    <li className="flex min-w-0 gap-3 border-t border-line py-1.5">
      <div className="w-24 shrink-0 text-xs">
        <div className="font-medium">
          {format.figure(latent.latent)}
          {latent.chosen === "asked" && <span className="ml-1.5 font-normal text-muted">asked for</span>}
        </div>
        <div className="text-muted" {...tip(`Active on ${format.plural(latent.count, "token")}.`, FORMULA)}>
          {latent.count > 0 ? format.percent(latent.frequency) : "silent"}
        </div>
        {latent.count > 0 && (
          <div className="text-muted">
            up to <Num value={latent.maximum} of="Largest activation" />
          </div>
        )}
      </div>
      <div className="min-w-0 flex-1">
        {shown.map((example) => (
          <TokenStrip
            key={`${example.sequence}-${example.position}`}
            label={`Latent ${latent.latent}, ${format.figure(example.strongest)} on “${(example.tokens[example.mark] ?? "").trim()}”`}
            tokens={example.tokens}
            values={example.activations}
            max={latent.maximum}
            mark={example.mark}
            oneLine
            centred
            note={(token) =>
              example.token_ids[token] === -1
                ? "A token that does not count"
                : `Token ${example.token_ids[token]}, sequence ${example.sequence}, position ${example.start + token}`
            }
          />
        ))}
        {latent.count === 0 && <p className="text-xs text-muted">Not active on any of these tokens.</p>}
        {more > 0 && (
          <button type="button" className="link text-xs" onClick={() => setAll(!all)} aria-expanded={all}>
            {all ? "Fewer" : `${format.figure(more)} more`}
          </button>
        )}
      </div>
    </li>
  );
}

/** Latents to have in every look. */
function Ask({ id, asked, active }: { id: string; asked: number[]; active: boolean }) {
  const client = useQueryClient();
  const [text, setText] = useState<string | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const shown = text ?? asked.join(", ");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const latents = shown
      .split(/[\s,;]+/)
      .filter(Boolean)
      .map(Number);
    setFailure(null);
    try {
      await body(
        api.PUT("/api/v1/trainings/{training_id}/looks", {
          params: { path: { training_id: id } },
          body: { latents },
        }),
      );
      setText(null);
      await client.invalidateQueries({ queryKey: ["trainings", id, "looks"] });
    } catch (error) {
      setFailure(error);
    }
  };
  if (!active)
    return asked.length > 0 ? (
      <span className="text-xs text-muted">
        Asked for: {asked.map((one) => format.figure(one)).join(", ")}
      </span>
    ) : null;
  return (
    <form onSubmit={submit} className="flex flex-wrap items-center gap-2">
      <label className="flex items-center gap-2 text-muted">
        Look at latents
        <input
          className="field w-40"
          inputMode="numeric"
          placeholder="12, 4031"
          value={shown}
          onChange={(event) => setText(event.target.value)}
        />
      </label>
      <Button type="submit" icon={<Eye size={14} />} disabled={text === null}>
        Look
      </Button>
      {failure !== null && (
        <div className="w-full">
          <ErrorNote error={failure} />
        </div>
      )}
    </form>
  );
}
