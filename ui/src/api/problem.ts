/** What went wrong, as the server words it (RFC 9457 problem+json), or as we word it when no server answers. */
export class Problem extends Error {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  readonly hint: string | null;
  /** Field path ("settings.context_length") → what is wrong with it. */
  readonly fields: Record<string, string>;
  readonly requestId: string | null;

  constructor(body: Partial<ProblemBody>, status: number) {
    super(body.detail || body.title || "The request failed.");
    this.name = "Problem";
    this.code = body.code ?? `http_${status}`;
    this.status = status;
    this.detail = body.detail || body.title || "The request failed.";
    this.hint = body.hint ?? null;
    this.fields = body.fields ?? {};
    this.requestId = body.request_id ?? null;
  }

  /** Read the problem out of a failed response, whatever its body is. */
  static async of(response: Response): Promise<Problem> {
    const text = await response.text().catch(() => "");
    try {
      const body: unknown = JSON.parse(text);
      if (body && typeof body === "object") return new Problem(body, response.status);
    } catch {
      // Not JSON: a proxy's page, or nothing.
    }
    return new Problem(
      {
        detail: `The server answered ${[response.status, response.statusText].join(" ").trim()}.`,
        hint: response.status >= 500 ? "Look at the server's log; it names the cause." : null,
      },
      response.status,
    );
  }

  /** Any thrown thing as a Problem. */
  static from(error: unknown): Problem {
    if (error instanceof Problem) return error;
    if (error instanceof TypeError && /fetch|network|load failed/i.test(error.message)) {
      return new Problem(
        {
          code: "server_unreachable",
          detail: "The server does not answer.",
          hint: "Is `mistudio serve` still running? This page continues by itself once it answers again.",
        },
        0,
      );
    }
    return new Problem(
      { code: "client_error", detail: error instanceof Error ? error.message : String(error) },
      0,
    );
  }
}

interface ProblemBody {
  title: string;
  detail: string;
  code: string;
  hint: string | null;
  fields: Record<string, string>;
  request_id: string | null;
}
