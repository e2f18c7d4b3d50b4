import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Play, Trash2 } from "lucide-react";
import { type FormEvent, useId, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { useRefetchOn } from "@/api/useChannel";
import { JobCell } from "@/jobs/JobState";
import {
  Button,
  type Column,
  ConfirmDialog,
  DataTable,
  Empty,
  ErrorNote,
  Field,
  format,
  IconButton,
  Num,
  PageHeader,
  RelativeTime,
  Section,
  SkeletonLines,
  usePages,
  useSearchParams,
} from "@/kit";

export type Session = components["schemas"]["SessionOut"];

/** Opens a session, or takes up an earlier one. */
export function OpenSession() {
  return (
    <>
      <PageHeader title="Steering" />
      <div className="flex min-h-0 flex-1 flex-col overflow-y-auto lg:flex-row lg:overflow-hidden">
        <div className="shrink-0 border-line p-5 lg:w-[380px] lg:overflow-y-auto lg:border-r">
          <Section title="New session">
            <NewSession />
          </Section>
        </div>
        <div className="flex min-h-64 min-w-0 flex-1 flex-col">
          <h2 className="px-5 pt-5 pb-2 font-semibold">Sessions</h2>
          <Sessions />
        </div>
      </div>
    </>
  );
}

function NewSession() {
  const id = useId();
  const client = useQueryClient();
  const [search, change] = useSearchParams();
  const [model, setModel] = useState<string | null>(null);
  const [picked, setPicked] = useState<ReadonlySet<string> | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Problem | null>(null);
  const saes = useQuery({
    queryKey: ["saes", "choices"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/saes", { params: { query: { limit: 200 } }, signal })),
  });
  const models = useQuery({
    queryKey: ["models", "choices"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/models", { params: { query: { limit: 200 } }, signal })),
  });
  if (saes.error ?? models.error)
    return (
      <ErrorNote
        error={saes.error ?? models.error}
        onRetry={() => {
          void saes.refetch();
          void models.refetch();
        }}
      />
    );
  if (!saes.data || !models.data) return <SkeletonLines lines={5} />;
  const usable = saes.data.items.filter((sae) => sae.ready && sae.model_id !== null && sae.hook !== null);
  if (usable.length === 0)
    return (
      <p className="text-muted">
        Steering needs an SAE of a model here:{" "}
        <Link to="/trainings/new" className="text-accent underline">
          train one
        </Link>{" "}
        or{" "}
        <Link to="/saes" search={{ add: true } as never} className="text-accent underline">
          import one
        </Link>
        .
      </p>
    );
  const wanted =
    usable.find((sae) => sae.id === search.sae) ??
    usable.find((sae) => sae.extraction_count > 0) ??
    usable[0];
  const modelId = model ?? wanted?.model_id ?? "";
  const fitting = usable.filter((sae) => sae.model_id === modelId);
  const chosen =
    picked ?? new Set(wanted?.model_id === modelId ? [wanted.id] : fitting[0] ? [fitting[0].id] : []);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const made = await body(
        api.POST("/api/v1/steering/sessions", { body: { model_id: modelId, sae_ids: [...chosen] } }),
      );
      client.setQueryData(["steering_sessions", made.id], made);
      void client.invalidateQueries({ queryKey: ["steering_sessions", "list"] });
      change({ session: made.id, sae: undefined }, { push: true });
    } catch (thrown) {
      setError(Problem.from(thrown));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      <p className="text-muted">
        A session keeps the model and its SAEs loaded, so that each text begins at once. It ends by itself
        when nobody uses it.
      </p>
      <Field id={id} label="Model" error={error?.fields.model_id}>
        <select
          id={id}
          className="field"
          value={modelId}
          onChange={(event) => {
            setModel(event.target.value);
            setPicked(null);
          }}
        >
          {models.data.items
            .filter((one) => usable.some((sae) => sae.model_id === one.id))
            .map((one) => (
              <option key={one.id} value={one.id}>
                {one.name}
              </option>
            ))}
        </select>
      </Field>
      <fieldset className="min-w-0">
        <legend className="mb-1 text-xs text-muted">SAEs whose features may be changed</legend>
        <ul className="flex max-h-72 flex-col overflow-y-auto">
          {fitting.map((sae) => (
            <li key={sae.id}>
              <label className="flex items-start gap-2 rounded-[4px] px-1 py-1 hover:bg-hover">
                <input
                  type="checkbox"
                  className="mt-1 accent-accent"
                  checked={chosen.has(sae.id)}
                  onChange={(event) => {
                    const next = new Set(chosen);
                    if (event.target.checked) next.add(sae.id);
                    else next.delete(sae.id);
                    setPicked(next);
                  }}
                />
                <span className="min-w-0">
                  <span className="block truncate">{sae.name}</span>
                  <span className="block truncate text-xs text-muted">
                    {format.figure(sae.d_sae)} latents
                    {sae.extraction_count === 0 && ", features not extracted"} · <code>{sae.hook}</code>
                  </span>
                </span>
              </label>
            </li>
          ))}
        </ul>
      </fieldset>
      {error && <ErrorNote error={error} />}
      <Button
        type="submit"
        look="primary"
        icon={<Play size={14} />}
        busy={busy}
        disabled={chosen.size === 0}
        className="self-end"
      >
        Start session
      </Button>
    </form>
  );
}

function Sessions() {
  const client = useQueryClient();
  const [, change] = useSearchParams();
  const source = usePages<Session>(["steering_sessions", "list"], (offset, limit, signal) =>
    body(api.GET("/api/v1/steering/sessions", { params: { query: { offset, limit } }, signal })),
  );
  useRefetchOn("steering_sessions", ["steering_sessions", "list"]);
  const open = (session: Session) => change({ session: session.id, sae: undefined }, { push: true });
  const remove = async (session: Session) => {
    try {
      await api.DELETE("/api/v1/steering/sessions/{session_id}", {
        params: { path: { session_id: session.id } },
      });
      void client.invalidateQueries({ queryKey: ["steering_sessions"] });
    } catch (error) {
      const problem = Problem.from(error);
      toast.error(problem.detail, { description: problem.hint ?? undefined });
    }
  };
  const columns: Column<Session>[] = [
    {
      id: "name",
      header: "Name",
      width: "minmax(200px, 2fr)",
      cell: (session) => (
        <button
          type="button"
          className="max-w-full truncate font-medium hover:underline"
          onClick={() => open(session)}
        >
          {session.name}
        </button>
      ),
    },
    {
      id: "state",
      header: "State",
      width: "minmax(100px, 0.7fr)",
      cell: (session) =>
        session.phase === "ended" ? (
          <span className="text-muted">ended</span>
        ) : (
          <JobCell job={session.job} done />
        ),
    },
    { id: "model", header: "Model", width: "minmax(120px, 1fr)", cell: (session) => session.model_name },
    {
      id: "texts",
      header: "Texts",
      width: "64px",
      align: "right",
      cell: (session) => <Num value={session.generation_count} />,
    },
    {
      id: "created",
      header: "Opened",
      width: "104px",
      cell: (session) => <RelativeTime at={session.created_at} />,
    },
    {
      id: "delete",
      header: "",
      width: "44px",
      cell: (session) => <DeleteSession session={session} onDelete={() => remove(session)} />,
    },
  ];
  return (
    <DataTable
      label="Sessions"
      columns={columns}
      source={source}
      id={(session) => session.id}
      onOpen={open}
      empty={
        <Empty title="No session yet">
          What is written in a session stays with it and can be opened again here.
        </Empty>
      }
    />
  );
}

function DeleteSession({ session, onDelete }: { session: Session; onDelete: () => Promise<void> }) {
  const [sure, setSure] = useState(false);
  return (
    <>
      <IconButton label={`Delete ${session.name}`} size="size-6" onClick={() => setSure(true)}>
        <Trash2 size={14} />
      </IconButton>
      <ConfirmDialog
        open={sure}
        onClose={() => setSure(false)}
        title={`Delete session “${session.name}”?`}
        action="Delete session"
        onConfirm={onDelete}
      >
        <p>
          With it go the {format.plural(session.generation_count, "text")} that it wrote. This cannot be
          undone.
        </p>
      </ConfirmDialog>
    </>
  );
}
