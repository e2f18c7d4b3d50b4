import { Link } from "@tanstack/react-router";
import { Layers } from "lucide-react";
import { useMemo, useState } from "react";
import type { components } from "@/api/schema";
import { Code, type Column, DataTable, Num, SearchField, tip, useRows } from "@/kit";
import { HookReport } from "./HookReport";
import { HOOK_MEANING } from "./hookKinds";
import type { Model } from "./ModelFacts";

type HookPoint = components["schemas"]["HookPointOut"];

const COLUMNS: Column<HookPoint>[] = [
  { id: "name", header: "Name", width: "minmax(280px, 1fr)", cell: (point) => <Code>{point.name}</Code> },
  { id: "layer", header: "Layer", width: "80px", align: "right", cell: (point) => point.layer ?? "–" },
  {
    id: "kind",
    header: "Kind",
    width: "minmax(140px, 1fr)",
    cell: (point) => <span {...tip(HOOK_MEANING[point.kind])}>{point.kind}</span>,
  },
  {
    id: "d",
    header: "Width",
    width: "90px",
    align: "right",
    hint: "Numbers in one activation there",
    cell: (point) => <Num value={point.d} />,
  },
];

function columnsOf(modelId: string): Column<HookPoint>[] {
  return [
    ...COLUMNS,
    {
      id: "harvest",
      header: "",
      width: "44px",
      cell: (point) => (
        <Link
          to="/models/$id"
          params={{ id: modelId }}
          search={{ tab: "activations", harvest: true, hook: point.name } as never}
          aria-label={`Harvest at ${point.name}`}
          className="inline-flex size-6 items-center justify-center rounded-[4px] text-muted hover:bg-hover hover:text-ink"
          {...tip(`Harvest activations at ${point.name}`)}
        >
          <Layers size={14} aria-hidden="true" />
        </Link>
      ),
    },
  ];
}

/** Where activations can be read and changed, with names to copy. */
export function HookPoints({ model }: { model: Model }) {
  const points = model.hook_points;
  const [text, setText] = useState("");
  const columns = useMemo(() => columnsOf(model.id), [model.id]);
  const found = text ? points.filter((point) => point.name.includes(text.toLowerCase())) : points;
  return (
    <>
      <HookReport model={model} />
      <div className="flex h-11 shrink-0 items-center px-5">
        <SearchField value={text} onChange={setText} label="Search hook points" />
      </div>
      <DataTable
        label="Hook points"
        columns={columns}
        source={useRows(found)}
        id={(point) => point.name}
        empty={
          <p className="px-5 py-10 text-center text-muted">
            {points.length === 0
              ? "They are listed once the model is complete."
              : "No hook point has this name."}
          </p>
        }
      />
    </>
  );
}
