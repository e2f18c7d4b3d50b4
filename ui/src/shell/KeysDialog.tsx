import { Dialog } from "@/kit";
import { useKeyGroups } from "@/kit/keys";

/** Every shortcut that works on the page that one sees. */
export function KeysDialog({ open, onClose }: { open: boolean; onClose: () => void }) {
  const groups = useKeyGroups();
  const names = [...new Set(groups.map((group) => group.name))];
  return (
    <Dialog open={open} onClose={onClose} title="Keys" wide>
      <div className="grid gap-x-8 gap-y-5 sm:grid-cols-2">
        {names.map((name) => (
          <section key={name}>
            <h3 className="mb-1 text-xs font-medium text-muted">{name}</h3>
            <ul>
              {groups
                .filter((group) => group.name === name)
                .flatMap((group) => group.bindings)
                .map((binding) => (
                  <li key={binding.keys + binding.label} className="flex h-6 items-center">
                    <span className="flex-1">{binding.label}</span>
                    <Keys keys={binding.keys} />
                  </li>
                ))}
            </ul>
          </section>
        ))}
      </div>
    </Dialog>
  );
}

const NAMES: Record<string, string> = { escape: "Esc", ctrl: "Ctrl", space: "Space", enter: "Enter" };

export function Keys({ keys }: { keys: string }) {
  return (
    <span className="inline-flex gap-1">
      {keys.split(/[ +]/).map((key) => (
        <kbd key={key} className="min-w-5 rounded-[4px] border border-line bg-sunken px-1 text-center">
          {NAMES[key] ?? (keys.includes("+") ? key.toUpperCase() : key)}
        </kbd>
      ))}
    </span>
  );
}
