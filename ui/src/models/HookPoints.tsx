import { useState } from "react";
import type { components } from "@/api/schema";
import { Code, type Column, DataTable, Num, SearchField, tip, useRows } from "@/kit";

type HookPoint = components["schemas"]["HookPointOut"];

const COLUMNS: Column<HookPoint>[] = [
  { id: "name", header: "Name", width: "minmax(280px, 1fr)", cell: (point) => <Code>{point.name}</Code> },
  { id: "layer", header: "Layer", width: "80px", align: "right", cell: (point) => point.layer ?? "–" },
  {
    id: "kind",
    header: "Kind",
    width: "minmax(140px, 1fr)",
    cell: (point) => <span {...tip(MEANING[point.kind])}>{point.kind}</span>,
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

const MEANING: Record<string, string> = {
  resid_pre: "The residual stream before the block",
  resid_mid: "The residual stream after attention, before the MLP",
  resid_post: "The residual stream after the block",
  mlp_in: "What the MLP reads (after its norm)",
  mlp_out: "What the MLP adds to the residual stream",
  attn_in: "What attention reads (after its norm)",
  attn_out: "What attention adds to the residual stream",
  attn_z: "The heads' outputs, side by side, before they are mixed",
  embed: "The token embeddings",
};

/** Where activations can be read and changed, with names to copy. */
export function HookPoints({ points }: { points: HookPoint[] }) {
  const [text, setText] = useState("");
  const found = text ? points.filter((point) => point.name.includes(text.toLowerCase())) : points;
  return (
    <>
      <div className="flex h-11 shrink-0 items-center px-5">
        <SearchField value={text} onChange={setText} label="Search hook points" />
      </div>
      <DataTable
        label="Hook points"
        columns={COLUMNS}
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
