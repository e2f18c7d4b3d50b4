import { io } from "socket.io-client";
import { getJson, queryClient } from "./client";
import { Live, type Transport } from "./live";
import type { ChannelEvent, Joined } from "./sequence";

const socket = io({
  path: "/socket.io",
  transports: ["websocket", "polling"],
  tryAllTransports: true,
  // A server that comes back is to be seen within two seconds.
  reconnectionDelay: 200,
  reconnectionDelayMax: 800,
  timeout: 4000,
});

/** How long a connection that may have died in its sleep has to answer. */
const ANSWER_MILLISECONDS = 1000;

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
  wake: async () => {
    if (!socket.connected) {
      // At once, instead of at the end of the pause between two attempts, which connect() alone would wait for.
      socket.disconnect().connect();
      return;
    }
    try {
      // Leaving no channel is answered like any other.
      await socket.timeout(ANSWER_MILLISECONDS).emitWithAck("unsubscribe", {});
    } catch {
      if (socket.connected) socket.disconnect().connect();
    }
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
