import { Link } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { type ReactNode, useEffect } from "react";
import { cutTip } from "./Tip";
import { rememberedSearch } from "./url";

export interface Crumb {
  label: string;
  to: string;
  /** Search parameters to go back to. */
  search?: Record<string, unknown>;
}

/** The head of every page: where one is, what it is, its state, and what one would do here. */
export function PageHeader({
  crumbs = [],
  title,
  state,
  actions,
}: {
  crumbs?: Crumb[];
  title: string;
  state?: ReactNode;
  actions?: ReactNode;
}) {
  useEffect(() => {
    document.body.dataset.page = title;
    document.body.dispatchEvent(new CustomEvent("pagetitle"));
  }, [title]);
  return (
    <header className="flex min-h-12 shrink-0 flex-wrap items-center gap-x-3 gap-y-1 border-b border-line px-5 py-1.5">
      {crumbs.length > 0 && (
        <nav aria-label="Breadcrumb">
          <ol className="flex items-center gap-1 text-muted">
            {crumbs.map((crumb) => (
              <li key={crumb.to} className="flex items-center gap-1">
                <Link
                  to={crumb.to}
                  search={(crumb.search ?? rememberedSearch(crumb.to)) as never}
                  className="rounded-[3px] hover:text-ink hover:underline"
                  data-crumb=""
                >
                  {crumb.label}
                </Link>
                <ChevronRight size={13} aria-hidden="true" />
              </li>
            ))}
          </ol>
        </nav>
      )}
      <div className="flex min-w-0 flex-1 items-center gap-x-3 basis-40 max-sm:flex-wrap sm:basis-64">
        <h1 className="min-w-0 text-lg font-semibold sm:truncate" tabIndex={-1} {...cutTip(title)}>
          {title}
        </h1>
        <div className="shrink-0">{state}</div>
      </div>
      <div className="ml-auto flex items-center gap-2">{actions}</div>
    </header>
  );
}
