/**
 * A server-sent event stream over one connection. Comments keep proxies from cutting a quiet one; what its client has
 * not read yet is counted; a client that reads nothing for a while is cut off.
 */
import type { ServerResponse } from 'node:http';
import type { Drain } from '../backend/calls.js';
import type { HttpExchange } from './http-exchange.js';
import type { Unread } from './mcp-unread.js';

export interface EventStreamOptions {
  readonly http: HttpExchange;
  /** Beside those of every event stream. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly pingMs: number;
  /** Longer than the pause between two pings: a connection on which nothing moves for so long is not read. */
  readonly stallMs: number;
  readonly unread: Unread;
  /** Leaves at once, for some proxies withhold even the headers until a first byte comes. */
  readonly first?: Buffer | undefined;
  /** Called once: the connection is gone, whoever ended it; `whole` when the system had taken all there was. */
  readonly onGone: (whole: boolean) => void;
}

/** `no-transform` and `X-Accel-Buffering` keep proxies from holding events back. */
const EVENT_STREAM_HEADERS = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no',
} as const;

const PING = Buffer.from(': ping\n\n');

/** One message; it holds no line break, for its sender blanked them. */
export function event(message: Buffer, id?: string): Buffer {
  const head = id === undefined ? 'data: ' : `id: ${id}\ndata: `;
  return Buffer.concat([Buffer.from(head), message, Buffer.from('\n\n')]);
}

export class EventStream {
  readonly #options: EventStreamOptions;
  readonly #response: ServerResponse;
  readonly #pings: NodeJS.Timeout;
  /** Counted as unread on behalf of this stream: what waits for the socket, and in it. */
  #unread = 0;
  #isWhole = false;
  #state: 'open' | 'ending' | 'gone' = 'open';

  constructor(options: EventStreamOptions) {
    this.#options = options;
    const { http, headers, pingMs, stallMs, first = PING } = options;
    const { response } = http;
    this.#response = response;
    http.begin(200, { ...EVENT_STREAM_HEADERS, ...headers });
    this.#pings = setInterval(() => this.#ping(), pingMs).unref();
    void this.write(first);
    // Node's own idle timer: it sees a large write that makes progress, and pings keep it from a quiet stream.
    response.setTimeout(stallMs);
    // It is also said of an answer whose connection was cut.
    response.once('finish', () => {
      this.#isWhole = !response.req.socket.destroyed;
    });
    if (http.isGone) queueMicrotask(() => this.#leave());
    else http.whenGone(() => this.#leave());
  }

  send(message: Buffer): Drain {
    return this.write(event(message));
  }

  write(bytes: Buffer): Drain {
    if (this.#state !== 'open') return undefined;
    this.#unread += bytes.length;
    const drain = this.#options.unread.add(bytes.length);
    // Called when the system has taken them.
    this.#response.write(bytes, () => this.#read(bytes.length));
    return drain;
  }

  /** What waits still leaves. */
  end(): void {
    if (this.#state !== 'open') return;
    clearInterval(this.#pings);
    this.#state = 'ending';
    this.#response.end();
  }

  /** A client that does not read what it has needs no ping. */
  #ping(): void {
    if (this.#unread === 0) void this.write(PING);
  }

  #read(bytes: number): void {
    const read = Math.min(bytes, this.#unread);
    this.#unread -= read;
    this.#options.unread.remove(read);
  }

  #leave(): void {
    if (this.#state === 'gone') return;
    this.#state = 'gone';
    clearInterval(this.#pings);
    this.#read(this.#unread);
    this.#options.onGone(this.#isWhole);
  }
}
