import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";
import { toast } from "sonner";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import { Button, Dialog, ErrorNote, Field, FormActions, invalid } from "@/kit";
import { KeptSettings } from "./KeptSettings";
import { Expectation } from "./StartFrom";

type Expected = components["schemas"]["Expected"];

interface Props {
  open: boolean;
  onClose: () => void;
  kind: string;
  /** What it may be called: the name of what is kept. */
  name?: string;
  /** What is kept, as it stands now. */
  settings: () => Record<string, unknown>;
  /** What a run of these settings came to. */
  expected?: Expected | null;
}

/** Keeps the settings of a form, or of something that was made, as a template. */
export function SaveTemplate(props: Props) {
  return (
    <Dialog open={props.open} onClose={props.onClose} title="Save as template">
      <Form {...props} />
    </Dialog>
  );
}

function Form({ onClose, kind, name: proposed = "", settings, expected = null }: Props) {
  const id = useId();
  const client = useQueryClient();
  const [kept] = useState(settings);
  const [name, setName] = useState(proposed);
  const [description, setDescription] = useState("");
  const [favourite, setFavourite] = useState(false);
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<Problem | null>(null);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    event.stopPropagation(); // the dialog may have been opened from within a form, which this must not send
    setBusy(true);
    try {
      await body(
        api.POST("/api/v1/templates", {
          body: {
            kind,
            name: name.trim(),
            description: description.trim(),
            favourite,
            expected,
            body: kept,
          },
        }),
      );
      void client.invalidateQueries({ queryKey: ["templates"] });
      toast.success(`Template “${name.trim()}” saved`);
      onClose();
    } catch (thrown) {
      setRefusal(Problem.from(thrown));
    } finally {
      setBusy(false);
    }
  };
  const taken = refusal?.code === "name_taken" ? [refusal.detail, refusal.hint].join(" ") : undefined;
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      <Field id={`${id}-name`} label="Name" needed error={taken ?? refusal?.fields.name}>
        <input
          id={`${id}-name`}
          className="field"
          maxLength={200}
          value={name}
          onFocus={(event) => event.target.select()}
          onChange={(event) => {
            setName(event.target.value);
            setRefusal(null);
          }}
          {...invalid(`${id}-name`, taken)}
        />
      </Field>
      <Field id={`${id}-description`} label="Description" hint="What it is good for.">
        <textarea
          id={`${id}-description`}
          className="field"
          rows={2}
          maxLength={5000}
          value={description}
          onChange={(event) => setDescription(event.target.value)}
        />
      </Field>
      <label className="flex items-center gap-2">
        <input
          type="checkbox"
          className="accent-accent"
          checked={favourite}
          onChange={(event) => setFavourite(event.target.checked)}
        />
        Favourite: listed before the others
      </label>
      <details>
        <summary className="cursor-pointer text-muted">What is kept</summary>
        <div className="mt-2 flex flex-col gap-2">
          {expected && (
            <p>
              As what this run came to: <Expectation expected={expected} />
            </p>
          )}
          <KeptSettings kind={kind} kept={kept} />
        </div>
      </details>
      {refusal && !taken && <ErrorNote error={refusal} />}
      <FormActions>
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" look="primary" busy={busy} disabled={name.trim() === ""}>
          Save template
        </Button>
      </FormActions>
    </form>
  );
}
