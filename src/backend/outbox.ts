/**
 * Where a child's message leaves when it answers no call: through the newest exchange that streams, the GET stream, or,
 * for want of both, later. What waits is bounded; the oldest goes first.
 */
import type { Drain, Exchange } from './calls.js';
import type { Life } from './lives.js';

/** The client's standing GET stream. */
export interface Stream {
  send(message: Buffer): Drain;
  end(): void;
}

type Way = 'exchange' | 'stream' | 'wait';

/** Tried in order; a message that finds no way open is dropped. */
const WAYS = {
  request: ['exchange', 'stream', 'wait'],
  log: ['exchange', 'stream'],
  change: ['stream', 'exchange', 'wait'],
  progress: ['stream'],
} as const satisfies Readonly<Record<string, readonly Way[]>>;

export type Matter = keyof typeof WAYS;

const MAX_WAITING = 100;
const MAX_WAITING_BYTES = 1024 * 1024;

interface Waiting {
  readonly life: Life;
  readonly matter: Matter;
  readonly message: Buffer;
}

export class Outbox {
  #stream: Stream | undefined;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;

  /** A client has one standing stream; a newer one takes the place of the older. The same one may come back. */
  listen(stream: Stream): void {
    const older = this.#stream;
    this.#stream = stream;
    if (older !== stream) older?.end();
    for (const { message } of this.#take(() => true)) void stream.send(message);
  }

  hangUp(stream: Stream): void {
    if (this.#stream === stream) this.#stream = undefined;
  }

  /** A new exchange carries the requests nobody has heard yet. */
  offer(exchange: Exchange): void {
    if (this.#waiting.length === 0 || !exchange.streams) return;
    for (const { message } of this.#take(({ matter }) => matter === 'request')) void exchange.send(message);
  }

  canReach(newest: Exchange | undefined): boolean {
    return newest !== undefined || this.#stream !== undefined;
  }

  post(life: Life, matter: Matter, message: Buffer, newest: Exchange | undefined): Drain {
    for (const way of WAYS[matter]) {
      const out = way === 'stream' ? this.#stream : way === 'exchange' ? newest : undefined;
      if (out !== undefined) return out.send(message);
      if (way === 'wait') this.#wait({ life, matter, message });
    }
    return undefined;
  }

  /** A child is gone, and with it the questions it asked. */
  forgetRequests(life: Life): void {
    this.#take((item) => item.matter === 'request' && item.life === life);
  }

  get isHeard(): boolean {
    return this.#stream !== undefined;
  }

  /** Ends the standing stream; its client may open another. */
  hangUpAll(): void {
    this.#stream?.end();
    this.#stream = undefined;
  }

  close(): void {
    this.#take(() => true);
    this.hangUpAll();
  }

  #wait(item: Waiting): void {
    // A copy: the message may be a small part of much more that was read.
    this.#waiting.push({ ...item, message: Buffer.from(item.message) });
    this.#waitingBytes += item.message.length;
    while (this.#waiting.length > MAX_WAITING || this.#waitingBytes > MAX_WAITING_BYTES) {
      this.#waitingBytes -= this.#waiting.shift()?.message.length ?? 0;
    }
  }

  #take(wanted: (item: Waiting) => boolean): Waiting[] {
    const taken = this.#waiting.filter(wanted);
    this.#waiting = this.#waiting.filter((item) => !wanted(item));
    this.#waitingBytes = this.#waiting.reduce((sum, { message }) => sum + message.length, 0);
    return taken;
  }
}
