/**
 * Streams that outlive their connections (MCP 2025-11-25, transports: resumability). Each keeps the last events it sent
 * and goes on for a while without a connection; a client that comes back with the id of an event gets what followed it.
 * Past the bounds the oldest goes, and who asks for it gets what is left.
 */
import type { Drain } from '../backend/calls.js';
import type { Stream } from '../backend/outbox.js';
import type { Session } from '../backend/session.js';
import type { Randomness } from '../base/ids.js';
import type { Shelf } from './mcp-shelf.js';
import { type EventStream, event } from './mcp-stream.js';

export interface StreamsOptions extends ResumeOptions {
  readonly random: Randomness;
}

interface ResumeOptions {
  /** How long a stream goes on without a connection, and a finished one can still be asked for. */
  readonly resumeMs: number;
  /** The same, of a large one that the system has taken whole: most often its client has it, too. */
  readonly lingerMs: number;
  /** Where all sessions of the user keep what they sent. */
  readonly shelf: Shelf;
}

/** What carries a stream for a while. */
export type Connection = Pick<EventStream, 'write' | 'end'>;

/** Opens a connection. `first` leaves before anything else. */
export type Connect = (first: Buffer, onGone: (whole: boolean) => void) => Connection;

/** After a cut; SDK clients would wait as long of their own accord. */
const RETRY_MS = 1000;
/** For one stream. Its newest event is kept whatever its size, for that is most often the answer. */
const MAX_EVENTS = 1000;
const MAX_STREAM_BYTES = 1024 * 1024;
const MAX_STREAMS = 1000;
const EVENT_ID = /^([\w-]+\.([gp])\d{1,9})\.(\d{1,9})$/;

/** The streams of one session. Their ids mean nothing in another session, or in another life of this one. */
export class SessionStreams {
  readonly #session: Pick<Session, 'listen' | 'state'>;
  readonly #options: StreamsOptions;
  readonly #life: string;
  readonly #streams = new Map<string, ReplayStream>();
  #standing: ReplayStream | undefined;
  #opened = 0;

  constructor(session: Pick<Session, 'listen' | 'state'>, options: StreamsOptions) {
    this.#session = session;
    this.#options = options;
    this.#life = options.random(9).toString('base64url');
  }

  /** The stream of one request. `abandon` is called when its client does not come back in time. */
  post(abandon: () => void): ReplayStream {
    return this.#open('p', abandon);
  }

  /**
   * Answers a GET. Without an id, with one of somebody else's, or with one of a standing stream that is no more, it gets
   * the standing stream; nothing is connected, and false returned, when the request's stream has nothing left to say.
   */
  get(lastEventId: string | undefined, connect: Connect): boolean {
    const [, name = '', kind, at] = EVENT_ID.exec(lastEventId ?? '') ?? [];
    const found = this.#streams.get(name);
    if (this.#standing?.ended) this.#standing = undefined;
    if (found !== undefined && found !== this.#standing && found.hasMoreThan(Number(at))) {
      found.connect(connect, Number(at));
      return true;
    }
    if (kind === 'p') return false;
    this.#standing ??= this.#open('g', () => undefined);
    this.#standing.connect(connect, found === this.#standing ? Number(at) : undefined);
    this.#standing.abandon = this.#session.listen(this.#standing);
    return true;
  }

  #open(kind: 'g' | 'p', abandon: () => void): ReplayStream {
    this.#opened += 1;
    const name = `${this.#life}.${kind}${this.#opened}`;
    const stream = new ReplayStream(name, abandon, {
      ...this.#options,
      onExpired: () => this.#expire(stream),
    });
    this.#streams.set(name, stream);
    if (this.#streams.size > MAX_STREAMS) this.#closeOldest();
    return stream;
  }

  /** What nobody was sent yet of the standing stream waits for the next connection, while the session is in memory. */
  #expire(stream: ReplayStream): void {
    if (!stream.ended) stream.abandon();
    if (stream === this.#standing && !stream.ended && this.#session.state !== 'closed') {
      stream.forget('sent');
      stream.wait(this.#options.resumeMs);
    } else this.#close(stream);
  }

  #closeOldest(): void {
    for (const stream of this.#streams.values()) {
      if (!stream.ended) continue;
      this.#close(stream);
      return;
    }
  }

  #close(stream: ReplayStream): void {
    stream.forget('all');
    this.#streams.delete(stream.name);
  }
}

interface ReplayOptions extends ResumeOptions {
  readonly onExpired: () => void;
}

interface Kept {
  readonly at: number;
  readonly bytes: Buffer;
}

export class ReplayStream implements Stream {
  readonly name: string;
  /** What leaving this stream for good means. */
  abandon: () => void;
  readonly #options: ReplayOptions;
  #kept: Kept[] = [];
  #keptBytes = 0;
  #last = 0;
  /** The last event that was given to a connection. */
  #sent = 0;
  #connection: Connection | undefined;
  #expiry: NodeJS.Timeout | undefined;
  #state: 'open' | 'ended' = 'open';

  constructor(name: string, abandon: () => void, options: ReplayOptions) {
    this.name = name;
    this.abandon = abandon;
    this.#options = options;
  }

  get ended(): boolean {
    return this.#state === 'ended';
  }

  /** Whether anything follows that event, now or later. */
  hasMoreThan(after: number): boolean {
    return this.#state === 'open' || this.#kept.some(({ at }) => at > after);
  }

  send(message: Buffer): Drain {
    this.#last += 1;
    const bytes = event(message, this.#idOf(this.#last));
    this.#keep({ at: this.#last, bytes });
    if (this.#connection === undefined) return undefined;
    this.#sent = this.#last;
    return this.#connection.write(bytes);
  }

  end(): void {
    this.#state = 'ended';
    this.#connection?.end();
  }

  /**
   * Goes on over a new connection, which takes the place of the older. It begins with an event that has an id and no
   * data, so that a client that is cut off again knows where it was.
   */
  connect(connect: Connect, after = this.#sent): void {
    clearTimeout(this.#expiry);
    const older = this.#connection;
    const priming = Buffer.from(`id: ${this.#idOf(after)}\nretry: ${RETRY_MS}\ndata: \n\n`);
    const connection = connect(priming, (whole) => this.#lose(connection, whole));
    this.#connection = connection;
    older?.end();
    for (const { at, bytes } of this.#kept) if (at > after) void connection.write(bytes);
    this.#sent = this.#last;
    if (this.#state === 'ended') connection.end();
  }

  /** How long it does without a connection before somebody decides what becomes of it. */
  wait(ms: number): void {
    this.#expiry = setTimeout(this.#options.onExpired, ms).unref();
  }

  forget(which: 'all' | 'sent'): void {
    this.#kept = which === 'all' ? [] : this.#kept.filter(({ at }) => at > this.#sent);
    this.#keptBytes = this.#kept.reduce((sum, { bytes }) => sum + bytes.length, 0);
    this.#options.shelf.put(this, this.#keptBytes);
  }

  #keep(newest: Kept): void {
    this.#kept.push(newest);
    this.#keptBytes += newest.bytes.length;
    while (this.#kept.length > 1 && (this.#kept.length > MAX_EVENTS || this.#keptBytes > MAX_STREAM_BYTES)) {
      this.#keptBytes -= this.#kept.shift()?.bytes.length ?? 0;
    }
    this.#options.shelf.put(this, this.#keptBytes);
  }

  #lose(connection: Connection, whole: boolean): void {
    if (connection !== this.#connection) return;
    this.#connection = undefined;
    // Of a small one the system has taken all before anybody can tell that the client is gone.
    const isSaid = whole && this.ended && this.#keptBytes > MAX_STREAM_BYTES;
    this.wait(isSaid ? this.#options.lingerMs : this.#options.resumeMs);
  }

  #idOf(at: number): string {
    return `${this.name}.${at}`;
  }
}
