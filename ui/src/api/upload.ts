import type { Progress } from "@/kit";
import { Problem } from "./problem";

/** `fetch` tells nothing of an upload's progress; XMLHttpRequest does. */
export function upload<T>(
  path: string,
  form: FormData,
  sending: { current: XMLHttpRequest | null },
  onProgress: (progress: Progress) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    sending.current = request;
    const start = performance.now();
    request.upload.onprogress = (event) => {
      const rate = event.loaded / Math.max(0.05, (performance.now() - start) / 1000);
      onProgress({
        done: event.loaded,
        total: event.total,
        unit: "bytes",
        rate,
        seconds_left: (event.total - event.loaded) / rate,
        stage: "Upload",
      });
    };
    request.onload = async () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText) as T);
      else reject(await Problem.of(new Response(request.responseText, { status: request.status })));
    };
    request.onerror = () => reject(Problem.from(new TypeError("network")));
    request.onabort = () => reject(new Problem({ detail: "The upload was cancelled." }, 0));
    request.open("POST", path);
    onProgress({ done: 0, total: null, unit: "bytes", stage: "Upload" });
    request.send(form);
  });
}
