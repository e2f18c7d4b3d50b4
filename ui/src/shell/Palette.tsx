import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import { Dialog } from "radix-ui";
import { useState } from "react";
import { getJson } from "@/api/client";
import { useFocusReturn } from "@/kit/Overlay";
import { PLACES } from "./navigation";
import { setTheme } from "./preferences";

interface Found {
  id: string;
  name: string;
}

/** Where named things are listed, and where each has its page. */
const KINDS = [
  { kind: "Data set", list: "/api/v1/datasets", page: "/datasets/$id" },
  { kind: "Model", list: "/api/v1/models", page: "/models/$id" },
  { kind: "Activations", list: "/api/v1/activations", page: "/activations/$id" },
  { kind: "Training", list: "/api/v1/trainings", page: "/trainings/$id" },
  { kind: "SAE", list: "/api/v1/saes", page: "/saes/$id" },
] as const;

const ACTIONS = [
  { label: "Add a data set", to: "/datasets", search: { add: true } },
  { label: "Add a model", to: "/models", search: { add: true } },
  { label: "Harvest activations", to: "/activations", search: { add: true } },
  { label: "Start a training", to: "/trainings", search: { new: true } },
] as const;

/** Ctrl K: pages, things by name, actions. */
export function Palette({ open, onClose }: { open: boolean; onClose: () => void }) {
  const focus = useFocusReturn();
  return (
    <Dialog.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Dialog.Portal>
        <div className="fixed inset-0 z-40 bg-scrim" />
        <Dialog.Content
          data-modal=""
          onOpenAutoFocus={focus.take}
          onCloseAutoFocus={focus.giveBack}
          aria-describedby={undefined}
          className="fixed top-[12vh] left-1/2 z-40 w-[calc(100vw-24px)] max-w-[560px] -translate-x-1/2 rounded-[9px] border border-line bg-raised shadow-pop"
        >
          <Dialog.Title className="sr-only">Find anything</Dialog.Title>
          <Choices onClose={onClose} />
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function Choices({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const wanted = text.trim();
  const things = useQuery({
    queryKey: ["palette", wanted],
    queryFn: async ({ signal }) => {
      const query = new URLSearchParams({ limit: "6", ...(wanted ? { q: wanted } : {}) });
      const pages = await Promise.allSettled(
        KINDS.map((kind) => getJson<{ items: Found[] }>(`${kind.list}?${query}`, signal)),
      );
      return pages.flatMap((page, index) =>
        page.status === "fulfilled"
          ? page.value.items.map((item) => ({ ...item, ...(KINDS[index] as (typeof KINDS)[number]) }))
          : [],
      );
    },
    placeholderData: (before) => before,
    staleTime: 5_000,
  });
  const go = (to: string, options: { params?: { id: string }; search?: object } = {}) => {
    onClose();
    void navigate({ to, ...options } as never);
  };
  const [chosen, setChosen] = useState("");
  const fits = (label: string) => label.toLowerCase().includes(wanted.toLowerCase());
  const heading =
    "[&_[cmdk-group-heading]]:px-3 [&_[cmdk-group-heading]]:pt-2 [&_[cmdk-group-heading]]:pb-1 [&_[cmdk-group-heading]]:text-2xs [&_[cmdk-group-heading]]:text-muted";
  const item =
    "mx-1 flex h-8 cursor-default items-center gap-2 rounded-[5px] px-2 data-[selected=true]:bg-accent-wash";
  const pages = [...PLACES, { to: "/jobs", label: "Jobs", key: "j" }].filter((place) => fits(place.label));
  const actions = ACTIONS.filter((action) => fits(action.label));
  const themes = (["light", "dark", "system"] as const).filter((theme) => fits(`Theme: ${theme}`));
  const values = [
    ...pages.map((place) => place.to),
    ...(things.data ?? []).map((thing) => thing.id),
    ...actions.map((action) => action.label),
    ...themes.map((theme) => `theme ${theme}`),
  ];
  // What was chosen may have gone with the next letter typed: then the first is.
  const value = values.includes(chosen) ? chosen : (values[0] ?? "");
  return (
    <Command label="Find anything" shouldFilter={false} loop value={value} onValueChange={setChosen}>
      <Command.Input
        value={text}
        onValueChange={setText}
        placeholder="A page, a name, an action…"
        className="h-11 w-full border-b border-line bg-transparent px-4 text-lg outline-none placeholder:text-faint"
      />
      <Command.List className="max-h-[50vh] overflow-y-auto pb-1">
        <Command.Empty className="px-4 py-6 text-muted">Nothing has this name.</Command.Empty>
        <Command.Group heading="Pages" className={heading}>
          {pages.map((place) => (
            <Command.Item key={place.to} value={place.to} onSelect={() => go(place.to)} className={item}>
              <span className="flex-1">{place.label}</span>
              <kbd className="text-2xs text-faint">g {place.key}</kbd>
            </Command.Item>
          ))}
        </Command.Group>
        {things.data && things.data.length > 0 && (
          <Command.Group heading="Things" className={heading}>
            {things.data.map((thing) => (
              <Command.Item
                key={thing.id}
                value={thing.id}
                onSelect={() => go(thing.page, { params: { id: thing.id } })}
                className={item}
              >
                <span className="min-w-0 flex-1 truncate">{thing.name}</span>
                <span className="text-2xs text-muted">{thing.kind}</span>
              </Command.Item>
            ))}
          </Command.Group>
        )}
        <Command.Group heading="Actions" className={heading}>
          {actions.map((action) => (
            <Command.Item
              key={action.label}
              value={action.label}
              onSelect={() => go(action.to, { search: action.search })}
              className={item}
            >
              {action.label}
            </Command.Item>
          ))}
          {themes.map((theme) => (
            <Command.Item
              key={theme}
              value={`theme ${theme}`}
              onSelect={() => {
                setTheme(theme);
                onClose();
              }}
              className={item}
            >
              Theme: {theme}
            </Command.Item>
          ))}
        </Command.Group>
      </Command.List>
    </Command>
  );
}
