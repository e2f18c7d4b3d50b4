import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { Menu as MenuIcon, Search } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { Toaster, toast } from "sonner";
import { JobsTray } from "@/jobs/JobsTray";
import { onJobEnd, startJobs, useActiveJobs } from "@/jobs/live";
import { format, IconButton, shareDone, TipLayer, useKeys } from "@/kit";
import { installKeys } from "@/kit/keys";
import { rememberSearch } from "@/kit/url";
import { ConnectionDot } from "./ConnectionDot";
import { KeysDialog } from "./KeysDialog";
import { MachineStrip } from "./MachineStrip";
import { PLACES } from "./navigation";
import { Palette } from "./Palette";
import { useShownTheme } from "./preferences";
import { ThemeMenu } from "./ThemeMenu";

/** The frame around every page: rail, jobs, machine, palette, keys, toasts. */
export function Shell() {
  const navigate = useNavigate();
  const path = useRouterState({ select: (state) => state.location.pathname });
  const search = useRouterState({ select: (state) => state.location.search as Record<string, unknown> });
  const theme = useShownTheme();
  const [palette, setPalette] = useState(false);
  const [keys, setKeys] = useState(false);
  const [rail, setRail] = useState(false);
  const main = useRef<HTMLElement>(null);
  const arrived = useRef(path);

  useEffect(() => {
    startJobs();
    return installKeys();
  }, []);
  useEffect(
    () =>
      onJobEnd((job) => {
        if (job.state === "succeeded") toast.success(`${job.title}: done`);
        if (job.state === "failed")
          toast.error(`${job.title}: failed`, { description: job.error?.message, duration: 12_000 });
      }),
    [],
  );
  useEffect(() => {
    setRail(false);
    // A new page: screen readers and the keyboard start at its title, but not when the page was merely loaded.
    if (arrived.current !== path) main.current?.focus({ preventScroll: true });
    arrived.current = path;
  }, [path]);
  useEffect(() => rememberSearch(path, search), [path, search]);
  useTitle();

  useKeys("Go to", [
    ...PLACES.map((place) => ({
      keys: `g ${place.key}`,
      label: place.label,
      run: () => void navigate({ to: place.to }),
    })),
    { keys: "g j", label: "Jobs", run: () => void navigate({ to: "/jobs" }) },
  ]);
  useKeys("Everywhere", [
    { keys: "?", label: "show these keys", run: () => setKeys(true) },
    { keys: "ctrl+k", label: "find anything", run: () => setPalette(true) },
    {
      keys: "/",
      label: "search on this page",
      run: () => document.querySelector<HTMLInputElement>("main [data-search]")?.select(),
    },
    {
      keys: "escape",
      label: "back to the list",
      run: () => {
        [...document.querySelectorAll<HTMLAnchorElement>("main [data-crumb]")].at(-1)?.click();
      },
    },
  ]);

  return (
    <div className="flex h-full">
      <a
        href="#main"
        className="sr-only z-50 rounded-[5px] bg-accent px-3 py-1 text-accent-ink focus:not-sr-only focus:absolute focus:top-2 focus:left-2"
      >
        Skip to the page
      </a>
      <header className="fixed inset-x-0 top-0 z-30 flex h-10 items-center gap-2 border-b border-line bg-canvas px-2 md:hidden">
        <IconButton label="Menu" aria-expanded={rail} onClick={() => setRail(!rail)}>
          <MenuIcon size={16} />
        </IconButton>
        <span className="font-semibold">miStudio</span>
      </header>
      <nav
        aria-label="Main"
        className={`fixed inset-y-0 left-0 z-30 w-52 shrink-0 flex-col border-r border-line bg-canvas pt-10 md:static md:flex md:pt-0 ${rail ? "flex" : "hidden"}`}
      >
        <div className="flex h-12 items-center gap-2 pr-2 pl-4">
          <img src="/favicon.svg" alt="" className="size-5" />
          <span className="flex-1 font-semibold">miStudio</span>
          <ConnectionDot />
          <IconButton label="Find anything (Ctrl K)" onClick={() => setPalette(true)}>
            <Search size={15} />
          </IconButton>
        </div>
        <ul className="flex-1 overflow-y-auto px-2">
          {PLACES.map((place) => {
            const here = path.startsWith(place.to);
            return (
              <li key={place.to}>
                <Link
                  to={place.to}
                  aria-current={here ? "page" : undefined}
                  className={`group my-px flex h-7 items-center gap-2 rounded-[5px] px-2 ${here ? "bg-hover font-medium text-ink" : "text-muted hover:bg-hover hover:text-ink"}`}
                >
                  <place.icon size={15} aria-hidden="true" />
                  <span className="flex-1">{place.label}</span>
                  <kbd className="text-2xs text-faint opacity-0 group-hover:opacity-100">g {place.key}</kbd>
                </Link>
              </li>
            );
          })}
        </ul>
        <JobsTray />
        <div className="flex items-center gap-1 border-t border-line px-2 py-1.5">
          <MachineStrip />
          <ThemeMenu onKeys={() => setKeys(true)} />
        </div>
      </nav>
      <main
        ref={main}
        id="main"
        tabIndex={-1}
        className="relative flex min-w-0 flex-1 flex-col pt-10 outline-none md:pt-0"
      >
        <Outlet />
      </main>
      <Palette open={palette} onClose={() => setPalette(false)} />
      <KeysDialog open={keys} onClose={() => setKeys(false)} />
      <Toaster theme={theme} position="bottom-right" closeButton offset={16} />
      <TipLayer />
    </div>
  );
}

/** The tab says what is on it, and how far the job nearest to its end is. */
function useTitle(): void {
  const job = useActiveJobs().find((one) => one.state === "running");
  const share = job ? shareDone(job) : null;
  const progress = job
    ? `${share === null ? "…" : format.percent(Math.floor(share * 100) / 100)} ${job.title} · `
    : "";
  useEffect(() => {
    const write = () => {
      document.title = `${progress}${document.body.dataset.page ?? ""} · miStudio`.replace(/^ · /, "");
    };
    write();
    document.body.addEventListener("pagetitle", write);
    return () => document.body.removeEventListener("pagetitle", write);
  }, [progress]);
}
