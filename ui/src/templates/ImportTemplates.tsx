import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { Button, Dialog, ErrorNote, format, SkeletonLines, tip } from "@/kit";
import { type JsonSchema, resolver, titleAt, type Value } from "@/kit/jsonSchema";
import { pathOf } from "@/training/grid";
import type { Kind } from "./kinds";

type Request = components["schemas"]["ImportRequest"];
type Row = components["schemas"]["ImportRow"];
type Choice = NonNullable<Request["on_conflict"]>;

const CHOICES: Record<Choice, string> = {
  rename: "add under a free name",
  replace: "replace the one that is there",
  skip: "keep the one that is there",
};

interface Props {
  open: boolean;
  onClose: () => void;
  kinds: Kind[];
}

/** Brings templates in from an exported file: first what would become of each, then by a click. */
export function ImportTemplates(props: Props) {
  return (
    <Dialog open={props.open} onClose={props.onClose} title="Import templates" wide>
      <Form {...props} />
    </Dialog>
  );
}

function Form({ onClose, kinds }: Props) {
  const client = useQueryClient();
  const [request, setRequest] = useState<Request | null>(null);
  const [unreadable, setUnreadable] = useState<string | null>(null);
  const [refusal, setRefusal] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const preview = useQuery({
    queryKey: ["templates", "import", request],
    enabled: request !== null,
    queryFn: ({ signal }) =>
      body(api.POST("/api/v1/templates/import/preview", { body: request as Request, signal })),
    placeholderData: keepPreviousData,
    gcTime: 0,
  });
  const read = async (file: File | undefined) => {
    if (!file) return;
    setUnreadable(null);
    setRequest(null);
    try {
      const document: unknown = JSON.parse(await file.text());
      if (document === null || typeof document !== "object" || Array.isArray(document))
        throw new Error("it holds no JSON object");
      setRequest({ document: document as Record<string, unknown>, on_conflict: "rename", choices: {} });
    } catch (thrown) {
      setUnreadable(`${file.name} is not a file of templates: ${(thrown as Error).message}.`);
    }
  };
  const submit = async () => {
    setBusy(true);
    setRefusal(null);
    try {
      const report = await body(api.POST("/api/v1/templates/import", { body: request as Request }));
      void client.invalidateQueries({ queryKey: ["templates"] });
      toast.success(`${format.plural(report.imported, "template")} imported`);
      onClose();
    } catch (thrown) {
      setRefusal(Problem.from(thrown));
    } finally {
      setBusy(false);
    }
  };
  const report = request && preview.data;
  const taken = report?.rows.some((row) => row.state === "taken");
  return (
    <div className="flex flex-col gap-4">
      <input
        type="file"
        accept=".json,application/json"
        aria-label="Exported file"
        className="field h-auto py-1"
        onChange={(event) => void read(event.target.files?.[0])}
      />
      {unreadable && (
        <p role="alert" className="text-failed">
          {unreadable}
        </p>
      )}
      {request && preview.isPending && <SkeletonLines lines={3} />}
      {preview.error && <ErrorNote error={preview.error} />}
      {report && !preview.error && (
        <>
          {taken && (
            <label className="flex items-center gap-2">
              Where a name is taken:
              <select
                className="field w-auto"
                value={request.on_conflict}
                onChange={(event) =>
                  setRequest({ ...request, on_conflict: event.target.value as Choice, choices: {} })
                }
              >
                {Object.entries(CHOICES).map(([choice, words]) => (
                  <option key={choice} value={choice}>
                    {words}
                  </option>
                ))}
              </select>
            </label>
          )}
          <div className="overflow-x-auto rounded-[5px] border border-line">
            <table className="w-full text-left">
              <thead className="text-xs text-muted">
                <tr className="h-7 border-b border-line [&>th]:px-2 [&>th]:font-normal">
                  <th className="text-right">Row</th>
                  <th>Name</th>
                  <th>Kind</th>
                  <th>What becomes of it</th>
                </tr>
              </thead>
              <tbody>
                {report.rows.map((row) => (
                  <tr key={row.row} className="border-b border-line/60 align-top [&>td]:px-2 [&>td]:py-1">
                    <td className="text-right text-muted">{row.row}</td>
                    <td className="font-medium">{row.name || "–"}</td>
                    <td>{kinds.find((kind) => kind.name === row.kind)?.title ?? row.kind}</td>
                    <td>
                      <Fate
                        row={row}
                        titleOf={(path) => titleIn(kinds, row, path, request.document)}
                        onChoose={(choice) =>
                          setRequest({ ...request, choices: { ...request.choices, [row.row]: choice } })
                        }
                      />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
      {refusal && <ErrorNote error={refusal} />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button
          look="primary"
          busy={busy}
          disabled={!report || preview.isError || report.imported === 0}
          onClick={() => void submit()}
        >
          {report && report.imported > 0 ? `Import ${report.imported}` : "Import"}
        </Button>
      </div>
    </div>
  );
}

/** What the form of a row's kind calls a setting. */
function titleIn(kinds: Kind[], row: Row, path: string, document: Record<string, unknown>): string {
  const form = kinds.find((one) => one.name === row.kind)?.form as JsonSchema | undefined;
  const { body } = (document.templates as { body?: Value }[] | undefined)?.[row.row - 1] ?? {};
  if (!form) return path;
  const tried = path.startsWith("grid.") ? pathOf(path.slice(5), (body?.config ?? {}) as Value) : null;
  const title = titleAt(tried ?? path, body ?? {}, form, resolver(form));
  return tried ? `${title} (values to try)` : title;
}

function Fate({
  row,
  titleOf,
  onChoose,
}: {
  row: Row;
  titleOf: (path: string) => string;
  onChoose: (choice: Choice) => void;
}) {
  if (row.state === "invalid")
    return (
      <ul className="text-failed">
        {Object.entries(row.errors).map(([field, words]) => (
          <li key={field}>
            <code>{field}</code>: {words}
          </li>
        ))}
      </ul>
    );
  if (row.state === "new") return <>is added</>;
  if (row.state === "same")
    return <span className="text-muted">is there already, with the same settings</span>;
  return (
    <span className="flex flex-wrap items-center gap-2">
      <select
        aria-label={`Row ${row.row}: its name is taken`}
        className="field w-auto"
        value={row.action}
        onChange={(event) => onChoose(event.target.value as Choice)}
      >
        {Object.entries(CHOICES).map(([choice, words]) => (
          <option key={choice} value={choice}>
            {words}
          </option>
        ))}
      </select>
      {row.action === "rename" && <span className="text-muted">as “{row.imported_as}”</span>}
      {(row.changes ?? []).length > 0 && (
        <span className="w-full text-xs text-muted">
          differs in{" "}
          {(row.changes ?? []).slice(0, 6).map((path, index) => (
            <span key={path}>
              {index > 0 && ", "}
              <span {...tip(path)}>{titleOf(path)}</span>
            </span>
          ))}
          {(row.changes ?? []).length > 6 && ` and ${(row.changes ?? []).length - 6} more`}
        </span>
      )}
    </span>
  );
}
