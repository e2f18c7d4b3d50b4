import { Download, ExternalLink } from "lucide-react";
import { useState } from "react";
import { Button, Dialog, format } from "@/kit";

/** Where the report of these runs is. */
export function reportUrl(ids: string[], as: "html" | "markdown", title: string): string {
  const query = new URLSearchParams();
  for (const id of ids) query.append("ids", id);
  query.set("format", as);
  if (title.trim()) query.set("title", title.trim());
  return `/api/v1/trainings/report?${query}`;
}

/** One page about runs, to keep or to print: what was trained on what, how they differ, curves, figures. */
export function ReportDialog({ open, onClose, ids }: { open: boolean; onClose: () => void; ids: string[] }) {
  const [title, setTitle] = useState("");
  const save = (as: "html" | "markdown") => {
    const link = document.createElement("a");
    link.href = reportUrl(ids, as, title);
    link.download = "";
    link.click();
  };
  return (
    <Dialog open={open} onClose={onClose} title={`Report on ${format.plural(ids.length, "run")}`}>
      <div className="flex flex-col gap-4">
        <p className="text-muted">
          One page: what was trained on what, how settings differ, curves, the Pareto plot, final figures with
          their formulas, and the environment. It needs no network and prints as it stands.
        </p>
        <label className="flex flex-col gap-1 text-xs text-muted">
          Title
          <input
            className="field text-sm"
            maxLength={200}
            placeholder="Made of the runs' names"
            value={title}
            onChange={(event) => setTitle(event.target.value)}
          />
        </label>
        <div className="flex flex-wrap justify-end gap-2">
          <Button
            icon={<ExternalLink size={14} />}
            onClick={() => window.open(`${reportUrl(ids, "html", title)}&show=true`, "_blank", "noopener")}
          >
            Look at it
          </Button>
          <Button icon={<Download size={14} />} onClick={() => save("markdown")}>
            Markdown and figures
          </Button>
          <Button look="primary" icon={<Download size={14} />} onClick={() => save("html")}>
            HTML
          </Button>
        </div>
      </div>
    </Dialog>
  );
}
