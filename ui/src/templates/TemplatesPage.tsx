import { Link } from "@tanstack/react-router";
import { Copy, Download, Lock, Pencil, Play, Plus, Star, Trash2, Upload } from "lucide-react";
import { type ReactNode, useState } from "react";
import { api, body } from "@/api/client";
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
  tip,
  useUrlState,
} from "@/kit";
import { architectureName } from "@/saes/architectures";
import { download, duplicate, remove, star } from "./actions";
import { EditTemplate } from "./EditTemplate";
import { ImportTemplates } from "./ImportTemplates";
import { KeptSettings } from "./KeptSettings";
import { type Kind, useKinds } from "./kinds";
import { Expectation, type Template } from "./StartFrom";

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
    width: "minmax(250px, 3fr)",
    sort: "name",
    cell: (template) => (
      <span className="flex min-w-0 items-center gap-1.5 font-medium">
        <span className="truncate">{template.name}</span>
        {template.builtin && (
          <span
            className="shrink-0 text-muted"
            {...tip("Built in: it comes with miStudio and stays as it is. Duplicate it to change it.")}
          >
            <Lock size={12} aria-hidden="true" />
            <span className="sr-only">built in</span>
          </span>
        )}
      </span>
    ),
  },
  {
    id: "kind",
    header: "Kind",
    width: "minmax(138px, 1fr)",
    sort: "kind",
    cell: (template) => kinds.find((kind) => kind.name === template.kind)?.title ?? template.kind,
  },
  {
    id: "architecture",
    header: "Architecture",
    width: "minmax(90px, 110px)",
    sort: "architecture",
    cell: (template) =>
      template.architecture ? architectureName(template.architecture) : <span className="text-muted">–</span>,
  },
  {
    id: "expected",
    header: "Expected",
    width: "135px",
    hint: "Active latents a token and unexplained variance of a run of these settings; where that is known from stands in the tooltip",
    cell: (template) =>
      template.expected ? (
        <Expectation expected={template.expected} />
      ) : (
        <span className="text-muted">–</span>
      ),
  },
  {
    id: "description",
    header: "Description",
    width: "minmax(120px, 3fr)",
    cell: (template) => (
      <span className="text-muted" {...tip(template.description)}>
        {template.description}
      </span>
    ),
  },
  {
    id: "uses",
    header: "Uses",
    width: "56px",
    align: "right",
    sort: "uses",
    hint: "How often something was started from it",
    cell: (template) => <Num value={template.uses} />,
  },
  {
    id: "used",
    header: "Last used",
    width: "90px",
    sort: "last_used_at",
    descendingFirst: true,
    cell: (template) => <RelativeTime at={template.last_used_at} />,
  },
  {
    id: "changed",
    header: "Changed",
    width: "90px",
    sort: "updated_at",
    descendingFirst: true,
    cell: (template) => <RelativeTime at={template.updated_at} />,
  },
];

export function TemplatesPage() {
  const kinds = useKinds();
  const [kind, setKind] = useUrlState("kind", "");
  const [architecture, setArchitecture] = useUrlState("architecture", "");
  const [made, setMade] = useUrlState("made", "");
  const [favourites, setFavourites] = useUrlState("favourites", false);
  const architectures = [
    ...new Set(kinds.filter((one) => !kind || one.name === kind).flatMap((one) => one.architectures)),
  ].sort();
  const filtering = kind !== "" || architecture !== "" || made !== "" || favourites;
  const clear = () => {
    setKind("");
    setArchitecture("");
    setMade("");
    setFavourites(false);
  };
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
        filterKey={[kind, architecture, made, favourites]}
        fetch={(query, signal) =>
          body(
            api.GET("/api/v1/templates", {
              params: {
                query: {
                  ...query,
                  kind: kind || undefined,
                  architecture: architecture || undefined,
                  builtin: made === "" ? undefined : made === "builtin",
                  favourite: favourites || undefined,
                },
              },
              signal,
            }),
          )
        }
        columns={columns(kinds)}
        onOpen={(template) => (template.builtin ? setOpen(template.id) : setEditing(template))}
        filters={
          <div className="flex min-w-0 items-center gap-2 overflow-x-auto p-0.5 max-sm:basis-1/2">
            <select
              aria-label="Kind"
              className="field w-auto max-w-44 shrink-0"
              value={kind}
              onChange={(event) => {
                setKind(event.target.value);
                setArchitecture("");
              }}
            >
              <option value="">Kind: any</option>
              {kinds.map((one) => (
                <option key={one.name} value={one.name}>
                  {one.title}
                </option>
              ))}
            </select>
            {(architectures.length > 0 || architecture) && (
              <select
                aria-label="Architecture"
                className="field w-auto max-w-44 shrink-0"
                value={architecture}
                onChange={(event) => setArchitecture(event.target.value)}
              >
                <option value="">Architecture: any</option>
                {[...new Set([...architectures, ...(architecture ? [architecture] : [])])].map((one) => (
                  <option key={one} value={one}>
                    {architectureName(one)}
                  </option>
                ))}
              </select>
            )}
            <select
              aria-label="Made by"
              className="field w-auto max-w-44 shrink-0"
              value={made}
              onChange={(event) => setMade(event.target.value)}
            >
              <option value="">Built in and own</option>
              <option value="own">Own only</option>
              <option value="builtin">Built in only</option>
            </select>
            <Button
              look={favourites ? "plain" : "quiet"}
              aria-pressed={favourites}
              icon={<Star size={13} fill={favourites ? "currentColor" : "none"} />}
              onClick={() => setFavourites(!favourites)}
            >
              Favourites
            </Button>
            {filtering && (
              <Button look="quiet" onClick={clear}>
                Clear
              </Button>
            )}
          </div>
        }
        actions={
          <>
            <Button icon={<Upload size={15} />} onClick={() => setImporting(true)}>
              Import
            </Button>
            <Button
              icon={<Download size={15} />}
              hint="All of your own as one JSON file"
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
              {!template.builtin && (
                <IconButton label="Edit" onClick={() => setEditing(template)}>
                  <Pencil size={14} />
                </IconButton>
              )}
              <IconButton
                label={template.builtin ? "Duplicate, to change the copy" : "Duplicate"}
                onClick={async () => {
                  const copy = await duplicate(template);
                  if (!copy) return;
                  setOpen(copy.id);
                  if (template.builtin) setEditing(copy);
                }}
              >
                <Copy size={14} />
              </IconButton>
              <IconButton label="Export" onClick={() => void download([template])}>
                <Download size={14} />
              </IconButton>
              {!template.builtin && (
                <IconButton
                  label="Delete template"
                  onClick={() => {
                    setOpen("");
                    void remove([template]);
                  }}
                >
                  <Trash2 size={14} />
                </IconButton>
              )}
            </>
          ),
          content: <Details template={template} />,
        })}
        empty={
          <Empty
            title={filtering ? "No template fits these filters" : "No templates yet"}
            action={filtering ? <Button onClick={clear}>Clear filters</Button> : add}
          >
            A template keeps settings under a name: which activations to extract, how to train, what to ask
            for a label, what to write while steering. It is saved from the dialog where the settings are
            made, from a run, here, or imported from a file.
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
  labelling: { to: "/features", label: "Choose features to label" },
  steering: { to: "/steering", label: "Steer from it" },
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
      {template.builtin && (
        <p className="flex items-start gap-1.5 text-muted">
          <Lock size={13} className="mt-0.5 shrink-0" aria-hidden="true" />
          Comes with miStudio and stays as it is. Duplicate it to change it.
        </p>
      )}
      <Facts
        facts={[
          ["Id", <Code key="id">{template.id}</Code>],
          ...(template.architecture
            ? [["Architecture", architectureName(template.architecture)] as [string, ReactNode]]
            : []),
          ["Uses", <Num key="uses" value={template.uses} />],
          ["Last used", <RelativeTime key="used" at={template.last_used_at} />],
          ["Made", <RelativeTime key="made" at={template.created_at} />],
          ["Changed", <RelativeTime key="changed" at={template.updated_at} />],
        ]}
      />
      {template.expected && (
        <Section title="Expected">
          <p>
            <Expectation expected={template.expected} /> on {template.expected.model},{" "}
            <code>{template.expected.hook}</code>
          </p>
          <p className="mt-1 text-xs text-muted">{template.expected.source}</p>
        </Section>
      )}
      <Section title="Settings">
        <KeptSettings kind={template.kind} kept={template.body} />
      </Section>
    </div>
  );
}
