import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Eye } from "lucide-react";
import { useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { useSchema } from "@/api/useSchema";
import { HubAccess } from "@/hub/HubAccess";
import { Button, Dialog, ErrorNote, type FormValue, SchemaForm, SkeletonLines } from "@/kit";
import { defaultsOf, problemsOf } from "@/kit/jsonSchema";
import { Preview, type PreviewOut, type Use } from "./Preview";

type Create = components["schemas"]["ModelCreate"];
type Consent = components["schemas"]["ModelConsent"];

const KINDS = {
  source: { hub: "Hugging Face hub", folder: "Folder on the server", gguf: "GGUF file on the server" },
};
const NOTHING: Consent = { code: null, pickle: false };
const USE: Use = { batch_size: 16, context_length: 128 };

/** Adds a model after a look at it; its page then shows how it is fetched. */
export function AddModel({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title="Add a model"
      description="Weights are kept as safetensors. Code that comes with a repository runs only if you say so."
      wide
    >
      <Form onClose={onClose} />
    </Dialog>
  );
}

function Form({ onClose }: { onClose: () => void }) {
  const schema = useSchema("ModelCreate");
  const client = useQueryClient();
  const navigate = useNavigate();
  const [typed, setTyped] = useState<FormValue | null>(null);
  const [seen, setSeen] = useState<{ source: string; found: PreviewOut } | null>(null);
  const [use, setUse] = useState<Use>(USE);
  const [looking, setLooking] = useState(false);
  const [error, setError] = useState<Problem | null>(null);
  if (!schema) return <SkeletonLines />;
  const value = typed ?? {
    ...defaultsOf(schema.schema, schema.resolve),
    source: { kind: "hub", revision: "main" },
  };
  const source = JSON.stringify(value.source);
  const consent = (value.consent as Consent | undefined) ?? NOTHING;
  const fits = !Object.keys(problemsOf(schema.schema, value, schema.resolve)).some((path) =>
    path.startsWith("source"),
  );
  // What was seen is of another source as soon as that is changed.
  const found = seen?.source === source ? seen.found : null;
  const look = async (how = use) => {
    setUse(how);
    setLooking(true);
    setError(null);
    try {
      const wanted = { source: value.source, ...how };
      const out = await body(
        api.POST("/api/v1/models/preview", {
          body: wanted as components["schemas"]["ModelPreviewWanted"],
        }),
      );
      setSeen({ source, found: out });
    } catch (thrown) {
      setError(Problem.from(thrown));
    } finally {
      setLooking(false);
    }
  };
  return (
    <SchemaForm
      {...schema}
      value={value}
      onChange={(next) => {
        setError(null);
        // Consent was to what was seen, so it goes with it.
        const moved = JSON.stringify(next.source) !== source;
        setTyped(moved ? { ...next, consent: NOTHING } : next);
      }}
      basic={["source", "name", "loading"]}
      hidden={["consent"]}
      kinds={KINDS}
      submit="Add model"
      onCancel={onClose}
      onSubmit={async (wanted) => {
        if (found?.weights === "pickle" && !consent.pickle)
          throw new Problem(
            {
              code: "consent_needed",
              detail: "Its weights are pickle files, which are not read without your consent.",
              hint: "Tick the box above, or add a version of the model in safetensors.",
            },
            0,
          );
        const model = await body(api.POST("/api/v1/models", { body: wanted as unknown as Create }));
        void client.invalidateQueries({ queryKey: ["models"] });
        await navigate({ to: "/models/$id", params: { id: model.id } });
      }}
    >
      {(value.source as { kind?: string }).kind === "hub" && (
        <HubAccess onChanged={() => error && void look()} />
      )}
      {!found && (
        <div className="flex items-center gap-3">
          <Button
            icon={<Eye size={14} />}
            busy={looking}
            disabled={!fits}
            hint="Files, sizes, license, code and memory, before anything is fetched"
            onClick={() => void look()}
          >
            Look at it first
          </Button>
          {looking && <span className="text-muted">Reading what is there…</span>}
        </div>
      )}
      {error && <ErrorNote error={error} onRetry={() => void look()} />}
      {found && (
        <Preview
          found={found}
          use={use}
          onUse={(how) => void look(how)}
          loading={value.loading as components["schemas"]["ModelLoading"] | undefined}
          consent={consent}
          onConsent={(next) => setTyped({ ...value, consent: next })}
        />
      )}
    </SchemaForm>
  );
}
