/**
 * One HTTP request and its answer at the MCP endpoints, in Node's own terms. Between the two stands nothing: fetch's
 * Request and Response would take more of the processor than all that the relay does (docs/performance.md).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

/** A short body leaves in one write with its head. */
const SHORT_BYTES = 16 * 1024;

/** A whole answer. */
export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

export const isReply = (value: object): value is Reply => 'status' in value;

export function jsonReply(status: number, body: Buffer | object, headers: Reply['headers'] = {}): Reply {
  return {
    status,
    headers: { 'Content-Type': 'application/json', ...headers },
    body: Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body)),
  };
}

export interface HttpExchangeOptions {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Without its query, as the client typed it. */
  readonly path: string;
  /** Headers of every answer: names and values in turn. */
  readonly common: readonly string[];
  /** Called once, when the answer begins. */
  readonly onStatus: (status: number) => void;
}

export class HttpExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly #options: HttpExchangeOptions;

  constructor(options: HttpExchangeOptions) {
    this.request = options.request;
    this.response = options.response;
    this.path = options.path;
    this.#options = options;
  }

  /** `name` in lower case. A header that came twice is one list (RFC 9110 §5.3). */
  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return typeof value === 'object' ? value.join(', ') : value;
  }

  /** The head of an answer whose body the caller writes. */
  begin(status: number, headers: Readonly<Record<string, string>>): void {
    const all = [...this.#options.common];
    for (const [name, value] of Object.entries(headers)) all.push(name, value);
    this.#options.onStatus(status);
    this.response.writeHead(status, all);
  }

  reply({ status, headers = {}, body }: Reply): void {
    if (body === undefined) {
      // RFC 9110 §8.6: a 204 has no length.
      this.begin(status, status === 204 ? headers : { ...headers, 'Content-Length': '0' });
      this.response.end();
      return;
    }
    this.begin(status, { ...headers, 'Content-Length': `${body.length}` });
    if (body.length < SHORT_BYTES) this.response.end(body.toString('latin1'), 'latin1');
    else this.response.end(body);
  }

  /** Also when the exchange ended well. Far cheaper than an AbortSignal. */
  whenGone(leave: () => void): void {
    // A client may have gone while we asked who it is.
    if (this.response.destroyed) leave();
    else this.response.once('close', leave);
  }
}
