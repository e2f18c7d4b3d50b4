import { X } from "lucide-react";
import { useId, useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { Button, format, IconButton, invalid } from "@/kit";

type HookPoint = components["schemas"]["HookPointOut"];

/** Chooses hook points: a grid of layers and kinds, whole rows and columns at a click, or names and patterns typed. */
export function HookPicker({
  id,
  value,
  onChange,
  error,
  model,
}: {
  id: string;
  value: unknown;
  onChange: (value: unknown) => void;
  error: string | undefined;
  model: { id: string; hook_points: HookPoint[] };
}) {
  const chosen = (value as string[] | undefined) ?? [];
  const points = model.hook_points.filter((point) => point.layer !== null);
  const kinds = [...new Set(points.map((point) => point.kind))];
  const layers = [...new Set(points.map((point) => point.layer as number))];
  const at = new Map(points.map((point) => [`${point.layer} ${point.kind}`, point]));
  const names = new Set(points.map((point) => point.name));
  const others = chosen.filter((hook) => !names.has(hook));
  const toggle = (group: string[]) => {
    const all = group.every((name) => chosen.includes(name));
    onChange(
      all
        ? chosen.filter((name) => !group.includes(name))
        : [...chosen, ...group.filter((name) => !chosen.includes(name))],
    );
  };
  const named = (test: (point: HookPoint) => boolean) => points.filter(test).map((point) => point.name);
  return (
    <div className="flex flex-col gap-2">
      <div className="max-h-52 overflow-auto rounded-[5px] border border-line-strong" {...invalid(id, error)}>
        <table className="w-full text-center text-xs">
          <thead className="sticky top-0 bg-surface">
            <tr className="h-7">
              <th className="px-2 text-left font-normal text-muted">Layer</th>
              {kinds.map((kind) => (
                <th key={kind} className="px-1 font-normal">
                  <button
                    type="button"
                    aria-label={`All layers of ${kind}`}
                    className="rounded-[3px] px-1 text-muted hover:text-ink"
                    onClick={() => toggle(named((point) => point.kind === kind))}
                  >
                    {kind}
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {layers.map((layer) => (
              <tr key={layer} className="h-6 border-t border-line/60 hover:bg-hover">
                <th className="px-2 text-left font-normal">
                  <button
                    type="button"
                    aria-label={`All of layer ${layer}`}
                    className="w-full rounded-[3px] text-left text-muted hover:text-ink"
                    onClick={() => toggle(named((point) => point.layer === layer))}
                  >
                    {layer}
                  </button>
                </th>
                {kinds.map((kind) => {
                  const point = at.get(`${layer} ${kind}`);
                  return (
                    <td key={kind}>
                      {point && (
                        <input
                          type="checkbox"
                          aria-label={point.name}
                          className="accent-accent"
                          checked={chosen.includes(point.name)}
                          onChange={() => toggle([point.name])}
                        />
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <ByName id={id} modelId={model.id} onFound={(hooks) => onChange([...new Set([...chosen, ...hooks])])} />
      <div className="flex min-h-6 flex-wrap items-center gap-1.5 text-xs text-muted">
        {chosen.length === 0 ? "None chosen yet." : `${format.plural(chosen.length, "hook point")} chosen.`}
        {chosen.length > 0 && (
          <button type="button" className="rounded-[3px] link" onClick={() => onChange([])}>
            Clear
          </button>
        )}
        {others.map((hook) => (
          <span key={hook} className="flex items-center rounded-[4px] bg-accent-wash pl-1.5 text-ink">
            <code>{hook}</code>
            <IconButton label={`Remove ${hook}`} size="size-5" onClick={() => toggle([hook])}>
              <X size={12} />
            </IconButton>
          </span>
        ))}
      </div>
    </div>
  );
}

/** Names, modules' paths and patterns, looked up in the model. */
function ByName({
  id,
  modelId,
  onFound,
}: {
  id: string;
  modelId: string;
  onFound: (hooks: string[]) => void;
}) {
  const help = useId();
  const [text, setText] = useState("");
  const [said, setSaid] = useState("");
  const add = async () => {
    const hooks = text.split(/[\s,]+/).filter(Boolean);
    if (hooks.length === 0) return;
    try {
      const found = await body(api.POST("/api/v1/activations/hooks", { body: { model_id: modelId, hooks } }));
      onFound(found.hooks);
      setSaid(found.missing.length > 0 ? `Not in this model: ${found.missing.join(", ")}` : "");
      setText(found.missing.join(", "));
    } catch (thrown) {
      setSaid(Problem.from(thrown).detail);
    }
  };
  return (
    <div>
      <div className="flex gap-2">
        <input
          id={id}
          className="field"
          spellCheck={false}
          aria-describedby={help}
          placeholder="or by name or pattern: blocks.*/3.hook_resid_post"
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter") return;
            event.preventDefault();
            void add();
          }}
        />
        <Button onClick={() => void add()} disabled={text.trim() === ""}>
          Add
        </Button>
      </div>
      <div id={help} role="status" className="text-xs text-failed">
        {said}
      </div>
    </div>
  );
}
