import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Command } from "cmdk";
import { useDeferredValue, useState } from "react";
import { fetchFeatures } from "@/features/query";
import { SourceMark } from "@/features/SourceMark";
import { TokenChips } from "@/features/TokenChips";
import { Button, ErrorNote, format } from "@/kit";
import type { Chosen } from "./chosen";
import type { Session } from "./OpenSession";

/** Looks for features in labels, tokens and numbers of the session's SAEs; Enter adds the one that is marked. */
export function FeaturePicker({
  session,
  chosen,
  onAdd,
}: {
  session: Session;
  chosen: Chosen[];
  onAdd: (sae: string, index: number) => void;
}) {
  const [saeId, setSaeId] = useState(session.saes[0]?.id ?? "");
  const [text, setText] = useState("");
  const [open, setOpen] = useState(false);
  const sae = session.saes.find((one) => one.id === saeId);
  const extraction = sae?.extraction_id ?? null;
  const wanted = useDeferredValue(text.trim());
  // A bare number means the latent of that number.
  const q = /^\d+$/.test(wanted) ? `#${wanted}` : wanted;
  const found = useQuery({
    queryKey: ["features", extraction, "picker", q],
    enabled: open && extraction !== null,
    queryFn: ({ signal }) =>
      fetchFeatures(
        extraction ?? "",
        {
          q: q || undefined,
          sort: q ? "-max_activation" : "-label_score",
          density: q ? undefined : "normal",
        },
        0,
        40,
        signal,
      ),
    placeholderData: keepPreviousData,
  });
  const taken = new Set(chosen.filter((one) => one.sae === saeId).map((one) => one.index));
  const add = (index: number) => {
    if (!taken.has(index)) onAdd(saeId, index);
    setText("");
    setOpen(false);
  };
  const number = /^#?\s*(\d+)$/.exec(wanted)?.[1];
  return (
    <div className="flex flex-col gap-2">
      {session.saes.length > 1 && (
        <select
          aria-label="SAE to look in"
          className="field"
          value={saeId}
          onChange={(event) => setSaeId(event.target.value)}
        >
          {session.saes.map((one) => (
            <option key={one.id} value={one.id}>
              {one.name ?? one.id} ({one.hook})
            </option>
          ))}
        </select>
      )}
      {sae?.extraction_id === null ? (
        <form
          className="flex gap-2"
          onSubmit={(event) => {
            event.preventDefault();
            if (number && Number(number) < (sae.d_sae ?? 0)) add(Number(number));
          }}
        >
          <input
            data-search=""
            aria-label="Number of the latent"
            className="field"
            inputMode="numeric"
            placeholder={`0 to ${(sae.d_sae ?? 1) - 1}: its features were not extracted`}
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
          <Button type="submit">Add</Button>
        </form>
      ) : (
        <Command
          shouldFilter={false}
          label="Add a feature"
          className="relative"
          onBlur={(event) => {
            if (!event.currentTarget.contains(event.relatedTarget)) setOpen(false);
          }}
          onKeyDown={(event) => {
            if (event.key === "Escape" && open) {
              event.stopPropagation();
              setOpen(false);
            }
          }}
        >
          <Command.Input
            data-search=""
            className="field"
            placeholder="Add a feature: label, token or number ( / )"
            value={text}
            onValueChange={(next) => {
              setText(next);
              setOpen(true);
            }}
            onFocus={() => setOpen(true)}
          />
          {/* Always there: the field names it as what it controls. */}
          <Command.List
            hidden={!open}
            className="absolute inset-x-0 top-8 z-20 max-h-80 overflow-y-auto rounded-[7px] border border-line bg-raised p-1 shadow-pop"
          >
            {found.error && <ErrorNote error={found.error} onRetry={() => void found.refetch()} />}
            {found.data?.items.length === 0 && (
              <div className="px-2 py-3 text-muted">No feature fits “{wanted}”.</div>
            )}
            {found.data?.items.map((row) => (
              <Command.Item
                key={row.index}
                value={String(row.index)}
                disabled={taken.has(row.index)}
                onMouseDown={(event) => event.preventDefault()}
                onSelect={() => add(row.index)}
                className="flex cursor-default flex-col rounded-[5px] px-2 py-1 data-[disabled=true]:opacity-50 data-[selected=true]:bg-accent-wash"
              >
                <span className="flex items-center gap-2">
                  <span className="shrink-0 font-mono text-xs text-muted">#{row.index}</span>
                  <span className="min-w-0 flex-1 truncate">
                    {row.label ?? <span className="text-faint">no label</span>}
                  </span>
                  <SourceMark source={row.label_source} score={row.label_score} words={false} />
                  <span className="shrink-0 text-2xs text-muted">{format.percent(row.frequency)}</span>
                </span>
                <TokenChips tokens={row.top_tokens} />
              </Command.Item>
            ))}
            {found.isPending && <div className="px-2 py-3 text-muted">Searching…</div>}
          </Command.List>
        </Command>
      )}
    </div>
  );
}
