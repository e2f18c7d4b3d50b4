import { type ErrorComponentProps, Link } from "@tanstack/react-router";
import { Problem } from "@/api/problem";
import { Empty, ErrorNote, PageHeader, SkeletonLines } from "@/kit";

export function NotFound() {
  return (
    <>
      <PageHeader title="Nothing here" />
      <Empty
        title="There is no page at this address"
        action={
          <Link to="/" className="link">
            To the start
          </Link>
        }
      >
        What it showed may have been deleted, or the address may be incomplete.
      </Empty>
    </>
  );
}

/** A page that broke: the rest of the application goes on. */
export function PageError({ error, reset }: ErrorComponentProps) {
  const stale = /dynamically imported module|Failed to fetch/.test(String(error));
  const problem = stale
    ? new Problem(
        {
          detail: "This page could not be loaded.",
          hint: "The server is away, or was updated: reload the window.",
        },
        0,
      )
    : error;
  return (
    <>
      <PageHeader title="Error" />
      <div className="p-5">
        <ErrorNote error={problem} onRetry={stale ? () => location.reload() : reset} />
      </div>
    </>
  );
}

/** While a page's code is on its way. */
export function PagePending() {
  return (
    <div className="px-5 py-4">
      <SkeletonLines />
    </div>
  );
}
