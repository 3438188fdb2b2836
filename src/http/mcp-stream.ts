/**
 * A server-sent event stream over one connection. Comments keep proxies from cutting a quiet one; what its client has
 * not read yet is counted; a client that reads nothing for a while is cut off.
 */
import type { HttpBindings } from '@hono/node-server';
import type { Drain } from '../backend/calls.js';
import type { Unread } from './mcp-unread.js';

export interface EventStreamOptions {
  readonly outgoing: HttpBindings['outgoing'] | undefined;
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
export const EVENT_STREAM_HEADERS = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no',
} as const;

const PING = Buffer.from(': ping\n\n');
/** Small events that wait leave together. */
const MAX_CHUNK_BYTES = 64 * 1024;

/** One message; it holds no line break, for its sender blanked them. */
export function event(message: Buffer, id?: string): Buffer {
  const head = id === undefined ? 'data: ' : `id: ${id}\ndata: `;
  return Buffer.concat([Buffer.from(head), message, Buffer.from('\n\n')]);
}

export class EventStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #options: EventStreamOptions;
  readonly #pings: NodeJS.Timeout;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Counted as unread on behalf of this stream: what waits here, and what waits in the socket. */
  #unread = 0;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #isWhole = false;
  #state: 'full' | 'hungry' | 'ending' | 'gone' = 'full';

  constructor(options: EventStreamOptions) {
    this.#options = options;
    const { outgoing, pingMs, stallMs, first = PING } = options;
    // Without a queue of its own, it asks for more only when the socket has taken what there was.
    const noQueue = { highWaterMark: 0 };
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#feed(),
        cancel: () => this.#leave(),
      },
      noQueue,
    );
    this.#pings = setInterval(() => this.#ping(), pingMs).unref();
    void this.write(first);
    // Node's own idle timer: it sees a large write that makes progress, and pings keep it from a quiet stream.
    outgoing?.setTimeout(stallMs);
    // It is also said of an answer whose connection was cut.
    outgoing?.once('finish', () => {
      this.#isWhole = !outgoing.req.socket.destroyed;
    });
    if (outgoing?.destroyed) queueMicrotask(() => this.#leave());
    else outgoing?.once('close', () => this.#leave());
  }

  send(message: Buffer): Drain {
    return this.write(event(message));
  }

  write(bytes: Buffer): Drain {
    if (this.#state === 'ending' || this.#state === 'gone') return undefined;
    this.#unread += bytes.length;
    const drain = this.#options.unread.add(bytes.length);
    if (this.#state === 'hungry') {
      this.#state = 'full';
      this.#controller?.enqueue(bytes);
    } else {
      this.#waiting.push(bytes);
      this.#waitingBytes += bytes.length;
    }
    return drain;
  }

  /** What waits still leaves. */
  end(): void {
    if (this.#state === 'ending' || this.#state === 'gone') return;
    clearInterval(this.#pings);
    if (this.#waiting.length === 0) this.#controller?.close();
    this.#state = 'ending';
  }

  /** A client that does not read what it has needs no ping. */
  #ping(): void {
    if (this.#state === 'hungry') void this.write(PING);
  }

  /** The socket has taken what there was, apart from what is still in its buffer. */
  #feed(): void {
    this.#count(this.#waitingBytes + (this.#options.outgoing?.writableLength ?? 0));
    if (this.#waiting.length === 0) {
      this.#state = 'hungry';
      return;
    }
    const chunk = this.#take();
    this.#waitingBytes -= chunk.length;
    this.#controller?.enqueue(chunk);
    if (this.#state === 'ending' && this.#waiting.length === 0) this.#controller?.close();
  }

  #take(): Buffer {
    let count = 0;
    for (let bytes = 0; count < this.#waiting.length; count += 1) {
      bytes += this.#waiting[count]?.length ?? 0;
      if (count > 0 && bytes > MAX_CHUNK_BYTES) break;
    }
    const taken = this.#waiting.splice(0, count);
    return taken.length === 1 && taken[0] !== undefined ? taken[0] : Buffer.concat(taken);
  }

  #count(unread: number): void {
    const read = Math.max(0, this.#unread - unread);
    this.#unread -= read;
    this.#options.unread.remove(read);
  }

  #leave(): void {
    if (this.#state === 'gone') return;
    this.#state = 'gone';
    clearInterval(this.#pings);
    this.#waiting.length = 0;
    this.#count(0);
    this.#options.onGone(this.#isWhole);
  }
}
