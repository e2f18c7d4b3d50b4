import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Copy, Download, Pencil, Play, Plus, Star, Trash2, Upload } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import type { components } from "@/api/schema";
import {
  Button,
  Code,
  type Column,
  Empty,
  Facts,
  IconButton,
  ListPage,
  Num,
  RelativeTime,
  Section,
  SettingFacts,
  useUrlState,
} from "@/kit";
import { download, duplicate, remove, star } from "./actions";
import { EditTemplate } from "./EditTemplate";
import { ImportTemplates } from "./ImportTemplates";
import { flat } from "./SaveTemplate";
import type { Template } from "./StartFrom";

export type Kind = components["schemas"]["TemplateKindOut"];

/** The kinds of templates, with their forms. */
export function useKinds(): Kind[] {
  const { data } = useQuery({
    queryKey: ["template kinds"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/templates/kinds", { signal })),
    staleTime: Number.POSITIVE_INFINITY,
  });
  return data ?? [];
}

const columns = (kinds: Kind[]): Column<Template>[] => [
  {
    id: "favourite",
    header: "",
    width: "40px",
    cell: (template) => (
      <IconButton
        label={template.favourite ? "No longer a favourite" : "Make it a favourite"}
        size="size-6"
        aria-pressed={template.favourite}
        onClick={() => void star(template)}
      >
        <Star size={14} className={template.favourite ? "fill-current text-warning" : ""} />
      </IconButton>
    ),
  },
  {
    id: "name",
    header: "Name",
    width: "minmax(180px, 2fr)",
    sort: "name",
    cell: (template) => <span className="font-medium">{template.name}</span>,
  },
  {
    id: "kind",
    header: "Kind",
    width: "minmax(130px, 1fr)",
    sort: "kind",
    cell: (template) => kinds.find((kind) => kind.name === template.kind)?.title ?? template.kind,
  },
  {
    id: "description",
    header: "Description",
    width: "minmax(160px, 2fr)",
    cell: (template) => <span className="text-muted">{template.description}</span>,
  },
  {
    id: "uses",
    header: "Uses",
    width: "70px",
    align: "right",
    sort: "uses",
    hint: "How often something was started from it",
    cell: (template) => <Num value={template.uses} />,
  },
  {
    id: "used",
    header: "Last used",
    width: "110px",
    sort: "last_used_at",
    descendingFirst: true,
    cell: (template) => <RelativeTime at={template.last_used_at} />,
  },
  {
    id: "changed",
    header: "Changed",
    width: "110px",
    sort: "updated_at",
    descendingFirst: true,
    cell: (template) => <RelativeTime at={template.updated_at} />,
  },
];

export function TemplatesPage() {
  const kinds = useKinds();
  const [kind, setKind] = useUrlState("kind", "");
  const [favourites, setFavourites] = useUrlState("favourites", false);
  const [importing, setImporting] = useUrlState("import", false);
  const [adding, setAdding] = useUrlState("add", false);
  const [, setOpen] = useUrlState("open", "");
  const [editing, setEditing] = useState<Template | null>(null);
  const add = (
    <Button look="primary" icon={<Plus size={15} />} onClick={() => setAdding(true)}>
      New template
    </Button>
  );
  return (
    <>
      <ListPage
        title="Templates"
        name="templates"
        defaultSort="-favourite,name"
        filterKey={[kind, favourites]}
        fetch={(query, signal) =>
          body(
            api.GET("/api/v1/templates", {
              params: {
                query: { ...query, kind: kind || undefined, favourite: favourites || undefined },
              },
              signal,
            }),
          )
        }
        columns={columns(kinds)}
        onOpen={setEditing}
        filters={
          <>
            <select
              aria-label="Kind"
              className="field w-auto"
              value={kind}
              onChange={(event) => setKind(event.target.value)}
            >
              <option value="">all kinds</option>
              {kinds.map((one) => (
                <option key={one.name} value={one.name}>
                  {one.title}
                </option>
              ))}
            </select>
            <label className="flex items-center gap-1.5 whitespace-nowrap">
              <input
                type="checkbox"
                className="accent-accent"
                checked={favourites}
                onChange={(event) => setFavourites(event.target.checked)}
              />
              favourites only
            </label>
          </>
        }
        actions={
          <>
            <Button icon={<Upload size={15} />} onClick={() => setImporting(true)}>
              Import
            </Button>
            <Button
              icon={<Download size={15} />}
              hint="All templates as one JSON file"
              onClick={() => void download([])}
            >
              Export all
            </Button>
            {add}
          </>
        }
        bulk={(rows, clear) => (
          <>
            <Button icon={<Download size={14} />} onClick={() => void download(rows)}>
              Export
            </Button>
            <Button
              icon={<Trash2 size={14} />}
              onClick={async () => {
                await remove(rows);
                clear();
              }}
            >
              Delete
            </Button>
          </>
        )}
        preview={(template) => ({
          title: template.name,
          actions: (
            <>
              <IconButton label="Edit" onClick={() => setEditing(template)}>
                <Pencil size={14} />
              </IconButton>
              <IconButton label="Duplicate" onClick={() => void duplicate(template)}>
                <Copy size={14} />
              </IconButton>
              <IconButton label="Export" onClick={() => void download([template])}>
                <Download size={14} />
              </IconButton>
              <IconButton
                label="Delete template"
                onClick={() => {
                  setOpen("");
                  void remove([template]);
                }}
              >
                <Trash2 size={14} />
              </IconButton>
            </>
          ),
          content: <Details template={template} />,
        })}
        empty={
          <Empty
            title={favourites || kind ? "No template is like that" : "No templates yet"}
            action={favourites || kind ? undefined : add}
          >
            A template keeps settings under a name: which activations to extract, how to train. It is saved
            from the dialog where the settings are made, here, or imported from a file.
          </Empty>
        }
      />
      <EditTemplate
        open={adding || editing !== null}
        template={editing}
        kinds={kinds}
        onClose={() => {
          setAdding(false);
          setEditing(null);
        }}
      />
      <ImportTemplates open={importing} kinds={kinds} onClose={() => setImporting(false)} />
    </>
  );
}

/** Where something is started from a template of the kind. */
const STARTS: Record<string, { to: string; label: string; search?: object }> = {
  extraction: { to: "/activations", label: "Harvest from it", search: { add: true } },
  training: { to: "/trainings/new", label: "Train from it" },
};

function Details({ template }: { template: Template }) {
  const start = STARTS[template.kind];
  return (
    <div className="flex flex-col gap-5">
      {start && (
        <Link
          to={start.to}
          search={{ ...start.search, template: template.id } as never}
          className="inline-flex h-7 w-max items-center gap-1.5 rounded-[5px] bg-accent px-2.5 text-sm font-medium text-accent-ink hover:brightness-110"
        >
          <Play size={14} aria-hidden="true" />
          {start.label}
        </Link>
      )}
      {template.description && <p className="whitespace-pre-line">{template.description}</p>}
      <Facts
        facts={[
          ["Id", <Code key="id">{template.id}</Code>],
          ["Uses", <Num key="uses" value={template.uses} />],
          ["Last used", <RelativeTime key="used" at={template.last_used_at} />],
          ["Made", <RelativeTime key="made" at={template.created_at} />],
          ["Changed", <RelativeTime key="changed" at={template.updated_at} />],
        ]}
      />
      <Section title="Settings">
        <SettingFacts settings={flat(template.body)} />
      </Section>
    </div>
  );
}
