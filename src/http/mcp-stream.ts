/**
 * A server-sent event stream with a bounded queue. Comments keep proxies from cutting a quiet one; a client that does
 * not read what it asked for is cut off instead of being buffered for.
 */

export interface EventStreamOptions {
  readonly pingMs: number;
  /** A message is still taken while less than this waits to be read, however large it is itself. */
  readonly maxQueuedBytes: number;
  /** Ends the connection under a stream that is not read. */
  readonly cut: () => void;
}

/** `no-transform` and `X-Accel-Buffering` keep proxies from holding events back. */
export const EVENT_STREAM_HEADERS = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no',
} as const;

const PING = Buffer.from(': ping\n\n');
const DATA = Buffer.from('data: ');
const END = Buffer.from('\n\n');

export class EventStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #cut: () => void;
  readonly #pings: NodeJS.Timeout;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor({ pingMs, maxQueuedBytes, cut }: EventStreamOptions) {
    this.#cut = cut;
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        cancel: () => this.#stop(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: maxQueuedBytes }),
    );
    this.#pings = setInterval(() => this.#write(PING), pingMs).unref();
    // Some proxies withhold even the headers until a first byte comes.
    this.#write(PING);
  }

  /** One message; it holds no line break, for its sender blanked them. */
  send(message: Buffer): void {
    this.#write(Buffer.concat([DATA, message, END]));
  }

  end(): void {
    this.#controller?.close();
    this.#stop();
  }

  #write(bytes: Buffer): void {
    if (this.#controller === undefined) return;
    if ((this.#controller.desiredSize ?? 0) > 0) {
      this.#controller.enqueue(bytes);
      return;
    }
    this.end();
    this.#cut();
  }

  #stop(): void {
    this.#controller = undefined;
    clearInterval(this.#pings);
  }
}
