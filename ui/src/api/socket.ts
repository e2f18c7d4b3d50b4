import { io } from "socket.io-client";
import { getJson, queryClient } from "./client";
import { Live, type Transport } from "./live";
import type { ChannelEvent, Joined } from "./sequence";

const socket = io({ path: "/socket.io", transports: ["websocket", "polling"], tryAllTransports: true });

const transport: Transport = {
  connected: () => socket.connected,
  subscribe: async (channel, last) => {
    const answer: Joined & { error?: unknown } = await socket
      .timeout(8000)
      .emitWithAck("subscribe", last === null ? { channel } : { channel, last_seq: last });
    if (answer.error) throw new Error(`${channel}: ${JSON.stringify(answer.error)}`);
    return answer;
  },
  unsubscribe: (channel) => {
    socket.emit("unsubscribe", { channel });
  },
  listen: (on) => {
    socket.on("connect", on.up);
    socket.on("disconnect", on.down);
    socket.on("connect_error", on.down);
    socket.on("resync", on.resync);
    socket.on("event", (event: ChannelEvent) => on.event(event));
  },
};

/** The application's one event connection. */
export const live = new Live(transport, (channel) => getJson<Joined>(`/api/v1/state/${channel}`));

live.onReturn = () => void queryClient.invalidateQueries();
