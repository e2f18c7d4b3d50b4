import { useQuery } from "@tanstack/react-query";
import * as format from "./format";
import { ConfirmDialog } from "./Overlay";
import { SkeletonLines } from "./states";

/** Asks before a stored thing is deleted, naming what goes with it: its files and whatever was made from it. */
export function DeleteDialog({
  open,
  onClose,
  noun,
  name,
  bytes,
  readUsers,
  onDelete,
}: {
  open: boolean;
  onClose: () => void;
  /** "data set" */
  noun: string;
  name: string;
  bytes?: number | null;
  /** What was made from it. */
  readUsers?: () => Promise<{ kind: string; id: string; name: string }[]>;
  onDelete: () => Promise<unknown>;
}) {
  const users = useQuery({
    queryKey: ["users", noun, name],
    queryFn: () => readUsers?.() ?? [],
    enabled: open && readUsers !== undefined,
    staleTime: 0,
  });
  const found = users.data ?? [];
  return (
    <ConfirmDialog
      open={open}
      onClose={onClose}
      title={`Delete ${noun} “${name}”?`}
      action={found.length > 0 ? `Delete all ${found.length + 1}` : `Delete ${noun}`}
      onConfirm={onDelete}
    >
      <p>
        Its files{bytes ? ` (${format.bytes(bytes)})` : ""} are removed from the disk. This cannot be undone.
      </p>
      {readUsers && users.isPending && open && <SkeletonLines lines={2} />}
      {found.length > 0 && (
        <div className="mt-3">
          <p className="font-medium">With it goes what was made from it:</p>
          <ul className="mt-1 max-h-40 list-disc overflow-y-auto pl-5">
            {found.map((user) => (
              <li key={user.id}>
                {user.name} <span className="text-muted">({user.kind})</span>
              </li>
            ))}
          </ul>
        </div>
      )}
    </ConfirmDialog>
  );
}
