/** HTTP toward a peer that may be slow, huge or lost: bounded in time and size, never following a redirect. */

export interface GuardedRequest {
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

export interface GuardedResponse {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

export interface FetchFailure {
  readonly failure: 'timeout' | 'network' | 'too_large' | 'redirect';
  /** The system's own code, e.g. `ECONNREFUSED` or `CERT_HAS_EXPIRED`. */
  readonly code?: string;
}

/** One exchange. A failure below HTTP is a value; an HTTP error status is an answer like any other. */
export async function guardedFetch(
  url: string,
  { method = 'GET', headers = {}, body, timeoutMs, maxBytes }: GuardedRequest,
): Promise<GuardedResponse | FetchFailure> {
  try {
    const response = await fetch(url, {
      method,
      // A kept connection may be closed by the peer just as we write: a refresh would be lost without a trace.
      headers: { ...headers, Connection: 'close' },
      // Followed, a redirect would carry the Authorization header along.
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
      ...(body === undefined ? {} : { body }),
    });
    if (response.status >= 300 && response.status < 400) {
      await response.body?.cancel();
      return { failure: 'redirect' };
    }
    const text = await readCapped(response, maxBytes);
    if (text === undefined) return { failure: 'too_large' };
    return { status: response.status, contentType: response.headers.get('content-type') ?? '', text };
  } catch (error) {
    if (error instanceof Error && error.name === 'TimeoutError') return { failure: 'timeout' };
    const cause = error instanceof Error ? error.cause : undefined;
    return { failure: 'network', ...(hasCode(cause) ? { code: cause.code } : {}) };
  }
}

async function readCapped(response: Response, maxBytes: number): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Parses JSON from a peer; what is not JSON is `undefined`. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function hasCode(cause: unknown): cause is { readonly code: string } {
  return typeof cause === 'object' && cause !== null && 'code' in cause && typeof cause.code === 'string';
}
