import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { ChevronRight, Copy, Layers } from "lucide-react";
import { useMemo, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { copyText, Empty, ErrorNote, format, Num, SkeletonLines, tip } from "@/kit";
import { HOOK_MEANING } from "./hookKinds";
import { depthOf, firstOpen, type HookSite, type TreeRow, visibleRows } from "./tree";

/** Every module with its shapes, parameters and hook points. Equal blocks are one row; a layer chooses among them. */
export function ArchitectureTree({ modelId, ready }: { modelId: string; ready: boolean }) {
  const tree = useQuery({
    queryKey: ["models", modelId, "modules"],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/models/{model_id}/modules", { params: { path: { model_id: modelId } }, signal })),
    enabled: ready,
  });
  const [layer, setLayer] = useState(0);
  const [toggled, setToggled] = useState<ReadonlySet<string>>(new Set());
  const first = useMemo(() => (tree.data ? firstOpen(tree.data) : new Set<string>()), [tree.data]);
  const rows = useMemo(() => {
    if (!tree.data) return [];
    const open = new Set([...first].filter((path) => !toggled.has(path)));
    for (const path of toggled) if (!first.has(path)) open.add(path);
    return visibleRows(tree.data, open, layer);
  }, [tree.data, first, toggled, layer]);
  if (!ready) return <Empty title="The model is not complete yet" />;
  if (tree.error)
    return (
      <div className="p-5">
        <ErrorNote error={tree.error} onRetry={() => void tree.refetch()} />
      </div>
    );
  if (!tree.data)
    return (
      <div className="p-5">
        <SkeletonLines lines={8} />
      </div>
    );
  const deepest = depthOf(tree.data) - 1;
  const total = tree.data.parameters;
  const toggle = (path: string) => {
    const next = new Set(toggled);
    if (next.has(path)) next.delete(path);
    else next.add(path);
    setToggled(next);
  };
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <div className="flex h-11 shrink-0 items-center gap-3 px-5">
        {deepest > 0 && (
          <label className="flex items-center gap-2 text-muted">
            Equal blocks as layer
            <input
              type="number"
              className="field w-16"
              min={0}
              max={deepest}
              value={layer}
              onChange={(event) =>
                setLayer(Math.max(0, Math.min(deepest, Math.round(Number(event.target.value) || 0))))
              }
            />
            <input
              type="range"
              aria-label="Layer"
              className="w-40 accent-accent"
              min={0}
              max={deepest}
              value={layer}
              onChange={(event) => setLayer(Number(event.target.value))}
            />
          </label>
        )}
        <span className="ml-auto text-xs text-muted">
          Click a hook point to copy its name, the layers beside it to harvest there
        </span>
      </div>
      <div className="min-h-0 flex-1 overflow-auto px-5 pb-5">
        <table className="w-full min-w-[760px] border-collapse">
          <thead className="sticky top-0 z-10 bg-canvas text-left text-xs text-muted">
            <tr className="border-b border-line">
              <th className="h-7 font-normal">Module</th>
              <th className="font-normal">Class</th>
              <th className="font-normal">Shapes</th>
              <th className="pr-4 text-right font-normal">Parameters</th>
              <th className="font-normal">Hook points</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <Row key={row.node.path} row={row} total={total} modelId={modelId} onToggle={toggle} />
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

function Row({
  row,
  total,
  modelId,
  onToggle,
}: {
  row: TreeRow;
  total: number;
  modelId: string;
  onToggle: (path: string) => void;
}) {
  const { node } = row;
  const count = node.last === null ? 1 : node.last - Number(node.name) + 1;
  const leaf = node.children.length === 0;
  return (
    <tr className="border-b border-line align-middle hover:bg-hover">
      <td className="py-1 whitespace-nowrap" style={{ paddingLeft: row.depth * 16 }}>
        {leaf ? (
          <span className="inline-block w-[26px]" />
        ) : (
          <button
            type="button"
            aria-label={`${row.open ? "Fold" : "Unfold"} ${row.path || "the model"}`}
            aria-expanded={row.open}
            className="mr-0.5 inline-flex size-6 items-center justify-center rounded-[3px] align-middle text-muted hover:text-ink"
            onClick={() => onToggle(node.path)}
          >
            <ChevronRight size={13} className={row.open ? "rotate-90" : ""} />
          </button>
        )}
        <button
          type="button"
          className="rounded-[3px] font-mono text-xs hover:underline"
          {...tip(row.path ? `${row.path}\nClick to copy: as a hook point, this is its output` : null)}
          onClick={() => row.path && void copied(row.path)}
        >
          {row.name || "model"}
        </button>
        {count > 1 && <span className="ml-1.5 text-2xs text-muted">{count} alike</span>}
      </td>
      <td className="py-1 pr-4 text-muted">{node.kind}</td>
      <td className="py-1 pr-4 font-mono text-xs">
        {Object.entries(node.shapes).map(([name, shape]) => (
          <span key={name} className="mr-3 whitespace-nowrap">
            <span className="text-muted">{name}</span> {shape.join("×") || "1"}
            {node.tied.includes(name) && (
              <span className="text-muted" {...tip("The same numbers as another module's")}>
                {" "}
                tied
              </span>
            )}
          </span>
        ))}
      </td>
      <td className="py-1 pr-4 text-right whitespace-nowrap">
        {node.parameters > 0 ? (
          <span
            {...tip(
              `${format.exact(node.parameters * count)} parameters, ${format.percent((node.parameters * count) / total)} of the model${count > 1 ? `\n${format.exact(node.parameters)} in each` : ""}`,
            )}
          >
            <Num value={node.parameters * count} />
          </span>
        ) : (
          <span className="text-faint">–</span>
        )}
      </td>
      <td className="py-0.5">
        <span className="flex flex-wrap gap-1">
          {row.hooks.map((site) => (
            <HookChip key={site.name} site={site} modelId={modelId} />
          ))}
        </span>
      </td>
    </tr>
  );
}

function HookChip({ site, modelId }: { site: HookSite; modelId: string }) {
  const navigate = useNavigate();
  return (
    <span className="inline-flex h-6 items-stretch overflow-hidden align-middle rounded-[4px] border border-line bg-surface">
      <button
        type="button"
        className="group inline-flex items-center gap-1 px-1 font-mono text-2xs hover:bg-hover"
        {...tip(
          `${site.name}\n${HOOK_MEANING[site.kind] ?? ""}\nWidth ${site.d}; the ${site.side === "in" ? "input" : "output"} of this module. Click to copy`,
        )}
        onClick={() => void copied(site.name)}
      >
        {site.kind}
        <Copy size={10} aria-hidden="true" className="text-faint group-hover:text-ink" />
      </button>
      <button
        type="button"
        aria-label={`Harvest at ${site.name}`}
        className="min-w-6 border-l border-line px-1 text-muted hover:bg-hover hover:text-ink"
        {...tip(`Harvest activations at ${site.name}`)}
        onClick={() =>
          void navigate({
            to: "/models/$id",
            params: { id: modelId },
            search: { tab: "activations", harvest: true, hook: site.name } as never,
          })
        }
      >
        <Layers size={11} aria-hidden="true" />
      </button>
    </span>
  );
}

async function copied(text: string): Promise<void> {
  await copyText(text);
  toast(`Copied ${text}`);
}
