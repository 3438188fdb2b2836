/**
 * A server-sent event stream with a bounded queue. Comments keep proxies from cutting a quiet one; a client that
 * reads slowly slows its server down, and one that does not read is cut off.
 */

export interface EventStreamOptions {
  readonly pingMs: number;
  /** While more than this waits to be read, senders are asked to wait too. */
  readonly maxQueuedBytes: number;
  /** How long they are asked to: a client that takes nothing for this long is gone. */
  readonly stallMs: number;
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

/** The queue is full: who sends is asked to wait, for a while. */
interface Jam {
  readonly drained: Promise<void>;
  readonly clear: () => void;
}

export class EventStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #options: EventStreamOptions;
  readonly #pings: NodeJS.Timeout;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #jam: Jam | undefined;

  constructor(options: EventStreamOptions) {
    this.#options = options;
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        // Called when the queue is below its mark.
        pull: () => this.#jam?.clear(),
        cancel: () => this.#stop(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: options.maxQueuedBytes }),
    );
    this.#pings = setInterval(() => void this.#write(PING), options.pingMs).unref();
    // Some proxies withhold even the headers until a first byte comes.
    void this.#write(PING);
  }

  /** One message; it holds no line break, for its sender blanked them. */
  send(message: Buffer): Promise<void> | undefined {
    return this.#write(Buffer.concat([DATA, message, END]));
  }

  end(): void {
    this.#controller?.close();
    this.#stop();
  }

  #write(bytes: Buffer): Promise<void> | undefined {
    this.#controller?.enqueue(bytes);
    if ((this.#controller?.desiredSize ?? 1) > 0) return undefined;
    this.#jam ??= this.#startJam();
    return this.#jam.drained;
  }

  #startJam(): Jam {
    let resolve: () => void = () => undefined;
    const drained = new Promise<void>((settle) => {
      resolve = settle;
    });
    const timer = setTimeout(() => {
      this.end();
      this.#options.cut();
    }, this.#options.stallMs).unref();
    const clear = () => {
      clearTimeout(timer);
      this.#jam = undefined;
      resolve();
    };
    return { drained, clear };
  }

  #stop(): void {
    this.#controller = undefined;
    clearInterval(this.#pings);
    this.#jam?.clear();
  }
}
