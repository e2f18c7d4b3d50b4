import { RotateCw } from "lucide-react";
import type { ReactNode } from "react";
import { Problem } from "@/api/problem";
import { Button } from "./Button";

/** Nothing here yet: what it would be and how to get it. */
export function Empty({
  title,
  children,
  action,
}: {
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="flex flex-col items-center gap-2 px-6 py-14 text-center">
      <div className="text-lg font-medium">{title}</div>
      {children && <div className="max-w-[52ch] text-muted">{children}</div>}
      {action && <div className="mt-2">{action}</div>}
    </div>
  );
}

/** A failure in the server's own words: what was wrong, what to do, and the id under which the log has it. */
export function ErrorNote({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const problem = Problem.from(error);
  return (
    <div role="alert" className="rounded-[6px] border border-failed/40 bg-failed-wash px-3 py-2">
      <div className="flex items-center gap-3">
        <div className="min-w-0 flex-1 break-words">
          <div className="font-medium">{problem.detail}</div>
          {problem.hint && <div className="text-muted">{problem.hint}</div>}
          {problem.requestId && problem.status >= 500 && (
            <div className="mt-1 text-2xs text-muted">
              Request <code>{problem.requestId}</code>
            </div>
          )}
        </div>
        {onRetry && (
          <Button icon={<RotateCw size={14} />} onClick={onRetry}>
            Try again
          </Button>
        )}
      </div>
    </div>
  );
}

/** The shape of what is coming, so that nothing jumps when it is there. */
export function Skeleton({ className = "h-4 w-full" }: { className?: string }) {
  return <div aria-hidden="true" className={`skeleton ${className}`} />;
}

export function SkeletonLines({ lines = 4 }: { lines?: number }) {
  return (
    <div role="status" aria-label="Loading" className="flex flex-col gap-3 py-2">
      {Array.from({ length: lines }, (_, line) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the lines are interchangeable.
        <Skeleton key={line} className={`h-4 ${["w-2/3", "w-1/2", "w-3/5", "w-2/5"][line % 4]}`} />
      ))}
    </div>
  );
}
