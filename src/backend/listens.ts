/**
 * The subscriptions of modern clients at the modern children of one session. They are no calls: nothing runs out for
 * them, they keep no child awake, and a child that comes after another is asked for them anew. What becomes of one is
 * decided in `mcp/relayed-listen.ts`.
 */
import {
  lineOf,
  type NotificationMessage,
  type RawJson,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
} from '../mcp/message.js';
import { errorAnswer, type RpcError, withdrawal } from '../mcp/protocol.js';
import {
  askedAs,
  endedTo,
  eventOf,
  type Listen,
  type ListenEvent,
  step,
  subscriptionOf,
  toldTo,
  UNHEARD,
} from '../mcp/relayed-listen.js';
import { closed } from '../mcp/subscriptions.js';
import type { Exchange, Heard } from './calls.js';
import * as failures from './failures.js';
import type { Life } from './lives.js';
import type { CallOutcome } from './observer.js';

interface Entry {
  readonly message: RequestMessage;
  readonly id: RawJson;
  readonly exchange: Exchange;
  listen: Listen;
}

/** One child that was asked. */
interface Asked {
  readonly entry: Entry;
  readonly life: Life;
}

export interface ListensOptions {
  readonly write: (life: Life, line: Buffer) => 'clogged' | undefined;
}

export class Listens {
  readonly #options: ListensOptions;
  readonly #entries = new Set<Entry>();
  /** By the id that is ours. */
  readonly #asked = new Map<RawJson, Asked>();
  #last = 0;

  constructor(options: ListensOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** What is returned is for the client that goes away. */
  open(message: RequestMessage, exchange: Exchange, life: Life): () => void {
    const entry = { message, id: rawAt(message.bytes, message.id), exchange, listen: UNHEARD };
    this.#entries.add(entry);
    const written = this.#options.write(life, this.#ask(entry, life));
    if (written === 'clogged') {
      this.#withdraw(entry);
      this.#refuse(entry, failures.childNotReading);
    }
    return () => this.#drop(entry);
  }

  /** A new child, before anything else is said to it. */
  greet(life: Life, write: (line: Buffer) => void): void {
    const waiting = [...this.#asked.values()].filter((asked) => asked.life === life);
    const asked = new Set(waiting.map(({ entry }) => entry));
    for (const entry of this.#entries) if (!asked.has(entry)) write(this.#ask(entry, life));
  }

  /** Undefined for what is of no subscription. */
  note(message: NotificationMessage): Heard | undefined {
    const as = subscriptionOf(message);
    if (as === undefined) return undefined;
    const entry = this.#asked.get(as)?.entry;
    if (entry === undefined) return { settled: false, drain: undefined };
    const { passes, isOver } = this.#step(entry, eventOf(message, as));
    if (!passes) return { settled: false, drain: undefined };
    const drain = entry.exchange.send(toldTo(message, entry.id));
    // Nothing more can be said on a stream whose subscription is cancelled.
    if (isOver) this.#end(entry, 'answered', closed(entry.id, { serverInfo: undefined }));
    return { settled: false, drain };
  }

  /** Whether it answers one of them. */
  answer(message: ResponseMessage): boolean {
    const as = rawAt(message.bytes, message.id);
    const entry = this.#asked.get(as)?.entry;
    if (entry === undefined) return false;
    const outcome = message.result === undefined ? 'rpc_error' : 'answered';
    if (this.#step(entry, { is: 'ended', as }).passes) this.#end(entry, outcome, endedTo(message, entry.id));
    return true;
  }

  lose(life: Life, error: RpcError): void {
    for (const [as, asked] of this.#asked) {
      if (asked.life !== life) continue;
      if (this.#step(asked.entry, { is: 'lost', as }).isOver) this.#refuse(asked.entry, error);
    }
  }

  /** Ends them all: gracefully those that have begun (MCP 2026-07-28, basic/patterns/subscriptions: graceful closure). */
  close(error: RpcError): void {
    for (const entry of this.#entries) {
      const { isAcknowledged } = entry.listen;
      this.#withdraw(entry);
      if (isAcknowledged) this.#end(entry, 'answered', closed(entry.id, { serverInfo: undefined }));
      else this.#refuse(entry, error);
    }
  }

  /** The line for that child. */
  #ask(entry: Entry, life: Life): Buffer {
    this.#last += 1;
    const as = `"fjmcp-listen-${this.#last}"`;
    this.#asked.set(as, { entry, life });
    this.#step(entry, { is: 'asked', as });
    return askedAs(entry.message, as);
  }

  #step(entry: Entry, event: ListenEvent): { readonly passes: boolean; readonly isOver?: true } {
    const { listen, cancel, ...came } = step(entry.listen, event);
    entry.listen = listen;
    if (event.is === 'ended' || event.is === 'lost') this.#asked.delete(event.as);
    if (cancel !== undefined) this.#cancel(cancel);
    return came;
  }

  #cancel(as: RawJson): void {
    const life = this.#asked.get(as)?.life;
    if (life === undefined) return;
    this.#asked.delete(as);
    this.#options.write(life, lineOf(withdrawal(as)));
  }

  /** The client went away: closing the stream cancels (MCP 2026-07-28, basic/patterns/cancellation). */
  #drop(entry: Entry): void {
    this.#withdraw(entry);
    if (this.#entries.has(entry)) this.#end(entry, 'cancelled', undefined);
  }

  #withdraw({ listen: { heard, opening } }: Entry): void {
    for (const as of [heard, opening]) if (as !== undefined) this.#cancel(as);
  }

  #refuse(entry: Entry, error: RpcError): void {
    this.#end(entry, 'bridge_error', errorAnswer(entry.id, error), error.data?.retryAfterSeconds);
  }

  #end(entry: Entry, outcome: CallOutcome, answer: Buffer | undefined, retryAfterSeconds?: number): void {
    this.#entries.delete(entry);
    void entry.exchange.end(answer, retryAfterSeconds, outcome);
  }
}
