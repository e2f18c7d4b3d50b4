import { useConnection } from "@/api/useChannel";
import { tip } from "@/kit";

const WORDS = {
  connecting: ["Connecting to the server", "bg-warning"],
  live: ["Live: changes arrive as they happen", "bg-done"],
  polling: ["The event connection is down; the state is read every 2 seconds until it is back", "bg-warning"],
  offline: ["The server does not answer; trying again", "bg-failed"],
} as const;

/** Whether events flow: a dot while all is well, a word when it is not. */
export function ConnectionDot() {
  const connection = useConnection();
  const [words, colour] = WORDS[connection];
  return (
    <span
      role="status"
      aria-label={words}
      className="inline-flex items-center gap-1.5 px-1 text-2xs text-muted"
      {...tip(words)}
    >
      <span aria-hidden="true" className={`size-1.5 rounded-full ${colour}`} />
      {connection === "live" || connection === "connecting" ? null : connection}
    </span>
  );
}
