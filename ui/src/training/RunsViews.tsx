import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Bookmark, Check, Link2, Pencil, Save, Trash2 } from "lucide-react";
import { useEffect, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import { useChannel } from "@/api/useChannel";
import { Button, copyText, Dialog, Menu, NameForm, RenameDialog, useSearchParams } from "@/kit";
import type { RunView } from "./runs";

type Settings = RunView["settings"];
const KEY = ["training views"];

/** The part of the address that is a view of the list; what is at its default stays out. */
export function viewSearch(settings: Settings, view?: string): Record<string, unknown> {
  return {
    view,
    filter: settings.filter || undefined,
    sort: settings.sort === "-created" ? undefined : settings.sort,
    group: settings.group || undefined,
    cols: settings.columns?.join(",") || undefined,
  };
}

/** Views of the list that were kept under a name, for all who use this server; the one shown stands in the address. */
export function RunsViews({ current }: { current: Settings }) {
  const client = useQueryClient();
  const [search, change] = useSearchParams();
  const [dialog, setDialog] = useState<"save" | "rename" | null>(null);
  const { data: views } = useQuery({
    queryKey: KEY,
    queryFn: ({ signal }) => body(api.GET("/api/v1/training-views", { signal })),
  });
  useChannel("trainings", {
    onEvent: (event) => {
      if (event.type === "views") void client.invalidateQueries({ queryKey: KEY });
    },
  });
  const id = typeof search.view === "string" ? search.view : "";
  const shown = views?.find((view) => view.id === id);
  const bare = id !== "" && !["filter", "sort", "group", "cols"].some((name) => search[name] !== undefined);
  // `?view=…` alone, as somebody may have written it down, means the view as it is now.
  useEffect(() => {
    if (bare && shown) change(viewSearch(shown.settings, shown.id));
  }, [bare, shown, change]);
  const gone = id !== "" && views !== undefined && !shown;
  useEffect(() => {
    if (!gone) return;
    toast("The view of this address is gone: these are the runs without it.");
    change({ view: undefined });
  }, [gone, change]);
  const changed =
    shown !== undefined &&
    !bare &&
    JSON.stringify(viewSearch(shown.settings)) !== JSON.stringify(viewSearch(current));
  const failed = (error: unknown) => {
    const problem = Problem.from(error);
    toast.error(problem.detail, { description: problem.hint ?? undefined });
  };
  const refresh = () => client.invalidateQueries({ queryKey: KEY });
  const update = async (view: RunView, request: { name?: string; settings?: Settings }) => {
    await body(
      api.PATCH("/api/v1/training-views/{view_id}", {
        params: { path: { view_id: view.id } },
        body: request as never,
      }),
    );
    await refresh();
  };
  const remove = async (view: RunView) => {
    try {
      await body(api.DELETE("/api/v1/training-views/{view_id}", { params: { path: { view_id: view.id } } }));
      change({ view: undefined });
      await refresh();
      toast(`Forgot the view “${view.name}”.`, {
        action: {
          label: "Undo",
          onClick: () =>
            void body(
              api.POST("/api/v1/training-views", { body: { name: view.name, ...view.settings } as never }),
            ).then(refresh, failed),
        },
      });
    } catch (error) {
      failed(error);
    }
  };
  const icon = (on: boolean) => <Check size={14} className={on ? "" : "opacity-0"} />;
  return (
    <>
      <Menu
        align="start"
        items={[
          {
            label: "All runs",
            icon: icon(!shown && !current.filter && !current.group),
            onSelect: () =>
              change(
                { view: undefined, filter: undefined, sort: undefined, group: undefined, cols: undefined },
                { push: true },
              ),
          },
          ...(views ?? []).map((view) => ({
            label: view.name,
            icon: icon(view.id === id),
            onSelect: () => change(viewSearch(view.settings, view.id), { push: true }),
          })),
          {
            label: "Save as a view…",
            icon: <Save size={14} />,
            apart: true,
            onSelect: () => setDialog("save"),
          },
          ...(shown
            ? [
                {
                  label: `Save changes to “${shown.name}”`,
                  icon: <Save size={14} />,
                  disabled: !changed,
                  onSelect: () =>
                    void update(shown, { settings: current }).then(
                      () => toast(`Saved “${shown.name}”.`),
                      failed,
                    ),
                },
                { label: "Rename…", icon: <Pencil size={14} />, onSelect: () => setDialog("rename") },
                {
                  label: "Forget it",
                  icon: <Trash2 size={14} />,
                  danger: true,
                  onSelect: () => void remove(shown),
                },
              ]
            : []),
          {
            label: "Copy link",
            icon: <Link2 size={14} />,
            apart: true,
            onSelect: () => void copyText(window.location.href).then(() => toast("Copied the link."), failed),
          },
        ]}
      >
        <Button
          icon={<Bookmark size={14} />}
          className="max-w-52"
          {...(shown
            ? { hint: `${shown.name}${changed ? "\nChanged since it was saved: • stands for that." : ""}` }
            : {})}
        >
          <span className="truncate">{shown ? `${shown.name}${changed ? " •" : ""}` : "Views"}</span>
        </Button>
      </Menu>
      <Dialog open={dialog === "save"} onClose={() => setDialog(null)} title="Save as a view">
        <SaveForm
          settings={current}
          views={views ?? []}
          onClose={() => setDialog(null)}
          onSaved={async (view) => {
            await refresh();
            change({ ...viewSearch(view.settings, view.id) });
          }}
        />
      </Dialog>
      {shown && (
        <RenameDialog
          open={dialog === "rename"}
          onClose={() => setDialog(null)}
          name={shown.name}
          onRename={(name) => update(shown, { name })}
        />
      )}
    </>
  );
}

function SaveForm({
  settings,
  views,
  onSaved,
  onClose,
}: {
  settings: Settings;
  /** Those that there are: of the same name, one is saved over. */
  views: RunView[];
  onSaved: (view: RunView) => Promise<void>;
  onClose: () => void;
}) {
  const known = (name: string) => views.find((view) => view.name.toLowerCase() === name.toLowerCase());
  const save = async (name: string) => {
    const before = known(name);
    await onSaved(
      before
        ? await body(
            api.PATCH("/api/v1/training-views/{view_id}", {
              params: { path: { view_id: before.id } },
              body: { settings },
            }),
          )
        : await body(api.POST("/api/v1/training-views", { body: { name, ...settings } })),
    );
    toast(before ? `Saved over “${name}”.` : `Saved the view “${name}”.`);
  };
  return (
    <NameForm
      verb={(name) => (known(name) ? "Save over it" : "Save")}
      maxLength={100}
      onName={save}
      onClose={onClose}
    >
      <p className="text-muted">
        Keeps filter, columns, order and groups, for everybody who uses this server.
        {settings.filter && (
          <>
            {" "}
            The filter is <code>{settings.filter}</code>.
          </>
        )}
      </p>
    </NameForm>
  );
}
