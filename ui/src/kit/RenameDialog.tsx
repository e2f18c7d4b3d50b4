import { type FormEvent, type ReactNode, useId, useState } from "react";
import { Problem } from "@/api/problem";
import { Button } from "./Button";
import { Field, invalid } from "./Field";
import { Dialog } from "./Overlay";

/** Gives something another name. */
export function RenameDialog({
  open,
  onClose,
  name,
  onRename,
}: {
  open: boolean;
  onClose: () => void;
  name: string;
  onRename: (name: string) => Promise<unknown>;
}) {
  return (
    <Dialog open={open} onClose={onClose} title={`Rename “${name}”`}>
      <NameForm name={name} verb="Rename" onName={onRename} onClose={onClose} />
    </Dialog>
  );
}

/** Asks for a name other than `name`; what `onName` throws stands under the field. */
export function NameForm({
  name = "",
  verb,
  maxLength = 200,
  onName,
  onClose,
  children,
}: {
  name?: string;
  /** What the button says, of what is typed. */
  verb: string | ((name: string) => string);
  maxLength?: number;
  onName: (name: string) => Promise<unknown>;
  onClose: () => void;
  children?: ReactNode;
}) {
  const id = useId();
  const [text, setText] = useState(name);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      await onName(text.trim());
      onClose();
    } catch (thrown) {
      const problem = Problem.from(thrown);
      setError([problem.detail, problem.hint].filter(Boolean).join(" "));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-4">
      {children}
      <Field id={id} label="Name" error={error}>
        <input
          id={id}
          className="field"
          maxLength={maxLength}
          value={text}
          onChange={(event) => setText(event.target.value)}
          {...invalid(id, error)}
        />
      </Field>
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button
          type="submit"
          look="primary"
          busy={busy}
          disabled={text.trim() === "" || text.trim() === name}
        >
          {typeof verb === "string" ? verb : verb(text.trim())}
        </Button>
      </div>
    </form>
  );
}
