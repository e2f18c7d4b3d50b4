import { useState } from "react";
import { useChannel } from "@/api/useChannel";

/** What joining one of the channels `system/…` brings; its events are new values of `now`. */
interface SystemState<T> {
  now: T;
  interval: number;
  history: Record<string, unknown[]>;
}

/** The newest reading of a system channel. `null` follows nothing. */
export function useReading<T>(channel: string | null): T | null {
  const [newest, setNewest] = useState<T | null>(null);
  useChannel(channel, {
    onSnapshot: (snapshot) => setNewest((snapshot as SystemState<T> | null)?.now ?? null),
    onEvent: (event) => setNewest(event.data as T),
  });
  return newest;
}

/** The system channels that this machine has (one per GPU, if any). */
export function useSystemChannels(): string[] {
  const [channels, setChannels] = useState<string[]>([]);
  useChannel("system", {
    onSnapshot: (snapshot) => setChannels((snapshot as { channels: string[] } | null)?.channels ?? []),
  });
  return channels;
}
