import { useCallback, useEffect, useRef, useState } from "react";
import { api, body } from "@/api/client";
import { Problem } from "@/api/problem";
import type { components } from "@/api/schema";
import type { Progress } from "@/kit";

export type Upload = components["schemas"]["UploadOut"];

const PIECE = 8 << 20;
const TRIES = 6;

export interface Sending {
  progress: Progress | null;
  error: unknown;
  /** The upload, once all of it is there. */
  whole: Upload | null;
  send: (file: File) => Promise<void>;
  /** Stop sending; what has arrived stays, to go on with later. */
  stop: () => void;
}

/**
 * Sends a file in pieces. A broken connection is tried again from the byte where it stopped; so is a file that was left
 * half sent before the page was closed.
 */
export function useUpload(): Sending {
  const [progress, setProgress] = useState<Progress | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [whole, setWhole] = useState<Upload | null>(null);
  const running = useRef<{ stopped: boolean; request: XMLHttpRequest | null }>(null);

  const stop = useCallback(() => {
    if (running.current) {
      running.current.stopped = true;
      running.current.request?.abort();
    }
    running.current = null;
    setProgress(null);
  }, []);
  useEffect(() => stop, [stop]);

  const send = useCallback(
    async (file: File) => {
      stop();
      const mine = { stopped: false, request: null as XMLHttpRequest | null };
      running.current = mine;
      setError(null);
      setWhole(null);
      setProgress({ done: 0, total: file.size, unit: "bytes", stage: "Upload" });
      try {
        let upload = await begin(file);
        const start = performance.now();
        const first = upload.received;
        const show = (done: number) => {
          if (mine.stopped) return;
          const rate = (done - first) / Math.max(0.05, (performance.now() - start) / 1000);
          const left = rate > 0 ? (file.size - done) / rate : null;
          setProgress({
            done,
            total: file.size,
            unit: "bytes",
            rate: rate || null,
            seconds_left: left,
            stage: "Upload",
          });
        };
        show(first);
        let tries = 0;
        while (upload.received < upload.size && !mine.stopped) {
          try {
            upload = await sendPiece(upload, file, mine, show);
            tries = 0;
          } catch (thrown) {
            const problem = Problem.from(thrown);
            const again = problem.status === 0 || problem.status >= 502 || problem.code.startsWith("upload_");
            if (mine.stopped || !again || ++tries >= TRIES) throw thrown;
            await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** tries));
            upload = await body(
              api.GET("/api/v1/datasets/uploads/{upload_id}", { params: { path: { upload_id: upload.id } } }),
            ).catch(() => upload);
          }
        }
        if (!mine.stopped) setWhole(upload);
      } catch (thrown) {
        if (!mine.stopped) setError(thrown);
      } finally {
        if (!mine.stopped) setProgress(null);
      }
    },
    [stop],
  );
  return { progress, error, whole, send, stop };
}

/** Go on with the same file if a part of it is there, else begin. */
async function begin(file: File): Promise<Upload> {
  const waiting = await body(api.GET("/api/v1/datasets/uploads"));
  const same = waiting.find((upload) => upload.filename === file.name && upload.size === file.size);
  return (
    same ?? body(api.POST("/api/v1/datasets/uploads", { body: { filename: file.name, size: file.size } }))
  );
}

/** `fetch` tells nothing of an upload's progress; XMLHttpRequest does. */
function sendPiece(
  upload: Upload,
  file: File,
  mine: { request: XMLHttpRequest | null },
  show: (done: number) => void,
): Promise<Upload> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    mine.request = request;
    request.upload.onprogress = (event) => show(upload.received + event.loaded);
    request.onload = async () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText) as Upload);
      else reject(await Problem.of(new Response(request.responseText, { status: request.status })));
    };
    request.onerror = () => reject(Problem.from(new TypeError("network")));
    request.onabort = () => reject(new Problem({ detail: "The upload was stopped." }, 0));
    request.open("PATCH", `/api/v1/datasets/uploads/${upload.id}?offset=${upload.received}`);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.send(file.slice(upload.received, upload.received + PIECE));
  });
}
