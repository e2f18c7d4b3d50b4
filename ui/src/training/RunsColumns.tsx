import { ArrowDown, ArrowUp, Columns3 } from "lucide-react";
import { useState } from "react";
import { Button, Dialog, IconButton, SearchField, tip } from "@/kit";
import { type RunField, USUAL_COLUMNS } from "./runs";

/** Which columns the list of runs has, in which order. */
export function RunsColumns({
  fields,
  chosen,
  onChange,
}: {
  fields: RunField[];
  chosen: string[];
  onChange: (names: string[]) => void;
}) {
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("");
  const wanted = text.toLowerCase();
  const offered = fields.filter((field) => field.name !== "name");
  const found = offered.filter(
    (field) => !wanted || field.title.toLowerCase().includes(wanted) || field.name.includes(wanted),
  );
  const groups = [...new Set(found.map((field) => field.group))];
  const move = (name: string, by: number) => {
    const next = chosen.filter((one) => one !== name);
    next.splice(Math.max(0, chosen.indexOf(name) + by), 0, name);
    onChange(next);
  };
  return (
    <>
      <Button icon={<Columns3 size={14} />} onClick={() => setOpen(true)}>
        Columns
      </Button>
      <Dialog open={open} onClose={() => setOpen(false)} title="Columns" wide>
        <div className="grid gap-5 sm:grid-cols-[1fr_220px]">
          <div className="min-w-0">
            <SearchField value={text} onChange={setText} label="Search columns" />
            <div className="mt-2 h-[52vh] overflow-y-auto">
              {groups.map((group) => (
                <fieldset key={group} className="mb-3">
                  <legend className="sticky top-0 w-full bg-raised py-1 text-xs text-muted">{group}</legend>
                  <div className="grid grid-cols-1 gap-x-4 md:grid-cols-2">
                    {found
                      .filter((field) => field.group === group)
                      .map((field) => (
                        <label
                          key={field.name}
                          className="flex h-6 min-w-0 items-center gap-2"
                          {...tip(field.description || field.title)}
                        >
                          <input
                            type="checkbox"
                            className="accent-accent"
                            checked={chosen.includes(field.name)}
                            onChange={(event) =>
                              onChange(
                                event.target.checked
                                  ? [...chosen, field.name]
                                  : chosen.filter((name) => name !== field.name),
                              )
                            }
                          />
                          <span className="truncate">{field.title}</span>
                        </label>
                      ))}
                  </div>
                </fieldset>
              ))}
              {found.length === 0 && <p className="py-6 text-center text-muted">No column is called so.</p>}
            </div>
          </div>
          <div>
            <div className="mb-2 flex h-7 items-center text-xs text-muted">
              <span className="flex-1">Shown, from the left</span>
              <Button look="quiet" onClick={() => onChange([...USUAL_COLUMNS])}>
                The usual
              </Button>
            </div>
            <ol className="max-h-[52vh] overflow-y-auto">
              {chosen.map((name, place) => {
                const field = fields.find((one) => one.name === name);
                return (
                  <li key={name} className="flex h-7 items-center gap-1">
                    <span className="min-w-0 flex-1 truncate">{field?.title ?? name}</span>
                    <IconButton
                      label={`Move ${field?.title ?? name} to the left`}
                      size="size-6"
                      disabled={place === 0}
                      onClick={() => move(name, -1)}
                    >
                      <ArrowUp size={13} />
                    </IconButton>
                    <IconButton
                      label={`Move ${field?.title ?? name} to the right`}
                      size="size-6"
                      disabled={place === chosen.length - 1}
                      onClick={() => move(name, 1)}
                    >
                      <ArrowDown size={13} />
                    </IconButton>
                  </li>
                );
              })}
            </ol>
          </div>
        </div>
      </Dialog>
    </>
  );
}
