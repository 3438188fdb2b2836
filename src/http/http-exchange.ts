/**
 * One HTTP request and its answer at the MCP endpoints, in Node's own terms. Between the two stands nothing: fetch's
 * Request and Response would take more of the processor than all that the relay does (docs/performance.md).
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { Maybe } from '../base/maybe.js';
import type { CountRequest } from './request-metrics.js';

/** A short body leaves in one write with its head. */
const SHORT_BYTES = 16 * 1024;

export type Headers = Readonly<Record<string, string>>;

/** A whole answer. */
export interface Reply {
  readonly status: number;
  readonly headers?: Headers;
  readonly body?: Buffer;
}

export const isReply = (value: object): value is Reply => 'status' in value;

const JSON_HEADERS: Headers = { 'Content-Type': 'application/json' };

export function jsonReply(status: number, body: Buffer | object, headers?: Headers): Reply {
  return {
    status,
    headers: headers === undefined ? JSON_HEADERS : { ...JSON_HEADERS, ...headers },
    body: Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body)),
  };
}

/** What all exchanges have in common. */
export interface HttpFrame {
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly count: CountRequest;
  /** Told what broke while an answer was sought. */
  readonly fail: (http: HttpExchange, error: unknown) => void;
}

export class HttpExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Without its query, as the client typed it. */
  readonly path: string;
  readonly #frame: HttpFrame;
  /** Node's own is a getter. */
  readonly #headers: IncomingHttpHeaders;

  constructor(request: IncomingMessage, response: ServerResponse, path: string, frame: HttpFrame) {
    this.request = request;
    this.response = response;
    this.path = path;
    this.#frame = frame;
    this.#headers = request.headers;
  }

  /** `name` in lower case. A header that came twice is one list (RFC 9110 §5.3). */
  header(name: string): string | undefined {
    const value = this.#headers[name];
    return typeof value === 'object' ? value.join(', ') : value;
  }

  /** The head of an answer whose body the caller writes. */
  begin(status: number, headers: Headers, length?: number): void {
    const all = this.#frame.headers.slice();
    for (const name in headers) all.push(name, headers[name] ?? '');
    if (length !== undefined) all.push('Content-Length', `${length}`);
    this.#frame.count(this.path, status);
    this.response.writeHead(status, all);
  }

  /** Whether an answer has begun, or can no longer be heard. */
  get isAnswered(): boolean {
    return this.response.headersSent || this.response.destroyed;
  }

  /** Nothing, if there is an answer already: what broke on the way may have been told. */
  reply({ status, headers = {}, body }: Reply): void {
    if (this.isAnswered) return;
    // RFC 9110 §8.6: a 204 has no length.
    this.begin(status, headers, status === 204 ? undefined : (body?.length ?? 0));
    if (body === undefined) this.response.end();
    else if (body.length < SHORT_BYTES) this.response.end(body.toString('latin1'), 'latin1');
    else this.response.end(body);
  }

  /** Replies what `work` says, at once or later; undefined when it is answered already, or will be. */
  answerWith(work: () => Maybe<Reply | undefined>): Maybe<void> {
    try {
      const reply = work();
      if (!(reply instanceof Promise)) return reply && this.reply(reply);
      return reply
        .then((it) => it && this.reply(it))
        .catch((error: unknown) => this.#frame.fail(this, error));
    } catch (error) {
      this.#frame.fail(this, error);
    }
  }

  /** A client may have gone while we asked who it is. */
  get isGone(): boolean {
    return this.response.destroyed || this.request.socket.destroyed;
  }

  /** Also when the exchange ended well. Far cheaper than an AbortSignal. */
  whenGone(leave: () => void): void {
    const { request, response } = this;
    if (this.isGone) {
      leave();
      return;
    }
    response.on('close', response.socket === null ? onlyOnce : leave);
    // Behind an earlier request on its connection an answer has no socket yet; Node.js would not tell it that this is gone.
    if (response.socket === null) request.socket.once('close', onlyOnce);
    function onlyOnce(): void {
      response.off('close', onlyOnce);
      request.socket.off('close', onlyOnce);
      leave();
    }
  }
}
