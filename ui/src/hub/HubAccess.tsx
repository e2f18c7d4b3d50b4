import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useId, useState } from "react";
import { api, body } from "@/api/client";
import { Button, ErrorNote, Field } from "@/kit";

const FROM = {
  settings: "The access token of the server's settings is used.",
  environment: "The access token in HF_TOKEN is used.",
  stored: "The stored access token is used.",
};

const focus = (input: HTMLInputElement | null) => input?.focus();

/** Which hub is asked, with which token; a token can be stored, encrypted, and forgotten. */
export function HubAccess({ onChanged }: { onChanged?: () => void }) {
  const id = useId();
  const client = useQueryClient();
  const [open, setOpen] = useState(false);
  const [token, setToken] = useState("");
  const [error, setError] = useState<unknown>(null);
  const { data: hub } = useQuery({
    queryKey: ["hub"],
    queryFn: ({ signal }) => body(api.GET("/api/v1/hub", { signal })),
  });
  if (!hub) return null;
  const act = async (work: () => Promise<unknown>) => {
    setError(null);
    try {
      await work();
      setToken("");
      setOpen(false);
      await client.invalidateQueries({ queryKey: ["hub"] });
      // What was refused for want of a token is asked for again.
      void client.invalidateQueries({ queryKey: ["dataset-preview"] });
      onChanged?.();
    } catch (thrown) {
      setError(thrown);
    }
  };
  const store = () => act(() => api.PUT("/api/v1/hub/token", { body: { token } }));
  return (
    <div className="flex flex-col gap-2 text-xs text-muted">
      <p className="flex flex-wrap items-center gap-x-2">
        <span className={hub.offline ? "text-warning" : ""}>
          {hub.offline ? "HF_HUB_OFFLINE keeps this server off the hub." : <code>{hub.endpoint}</code>}
        </span>
        <span>{hub.token ? FROM[hub.token] : "No access token: only public repositories can be read."}</span>
        {hub.token === "stored" && (
          <button type="button" className="link" onClick={() => act(() => api.DELETE("/api/v1/hub/token"))}>
            Forget it
          </button>
        )}
        {hub.token !== "settings" && hub.token !== "environment" && !open && (
          <button type="button" className="link" onClick={() => setOpen(true)}>
            {hub.token ? "Replace it" : "Store a token"}
          </button>
        )}
      </p>
      {open && (
        <div className="flex items-end gap-2">
          <div className="min-w-0 flex-1">
            <Field
              id={id}
              label="Access token"
              hint="For gated and private repositories. Kept encrypted in the data folder and never shown again."
            >
              <input
                ref={focus}
                id={id}
                type="password"
                autoComplete="off"
                className="field"
                value={token}
                onChange={(event) => setToken(event.target.value)}
                onKeyDown={(event) => {
                  if (event.key !== "Enter") return;
                  event.preventDefault();
                  if (token.trim()) void store();
                }}
              />
            </Field>
          </div>
          <Button disabled={!token.trim()} onClick={() => void store()}>
            Store
          </Button>
          <Button
            onClick={() => {
              setToken("");
              setOpen(false);
            }}
          >
            Cancel
          </Button>
        </div>
      )}
      {error !== null && <ErrorNote error={error} />}
    </div>
  );
}
