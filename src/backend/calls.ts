/**
 * The client's requests in flight: each goes to the child under a fresh integer, and its answer leaves through the
 * exchange that asked, under the id it asked with. Clients do send `id: 1` for parallel calls; answers never cross.
 */
import {
  type Edit,
  lineOf,
  type NotificationMessage,
  type RawJson,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
  splice,
  spliceInPlace,
} from '../mcp/message.js';
import { errorAnswer, type RpcError } from '../mcp/protocol.js';
import { InFlight } from './in-flight.js';
import type { Life } from './lives.js';
import type { CallOutcome } from './observer.js';

/** Settles when a client has read enough that more may be sent to it; undefined when it can take more now. */
export type Drain = Promise<void> | undefined;

/** When all of them are. */
export function together(drains: readonly Drain[]): Drain {
  const [first, ...more] = drains.filter((drain) => drain !== undefined);
  return first === undefined || more.length === 0
    ? first
    : Promise.all([first, ...more]).then(() => undefined);
}

/** What came of a line of a child. */
export interface Heard {
  /** Whether it was the answer to a call in flight: what a child says unasked is bounded. */
  readonly settled: boolean;
  readonly drain: Drain;
}

/** One HTTP exchange, as a call sees it. */
export interface Exchange {
  /** Whether messages may leave through it before the answer. */
  readonly streams: boolean;
  /** What is not the client's work: asked by the bridge itself, or only to see whether somebody is there. */
  readonly kind?: 'ours' | 'ping';
  /** While the child waits for the client, and not the client for the child, its time does not run out. */
  readonly waitsForClient?: boolean;
  /** Whose place it takes, to notice what passes. */
  readonly standsFor?: Exchange;
  send(message: Buffer): Drain;
  /** What else is to change in an answer of the child that is about to leave: all changes cost one copy. */
  edits?(answer: ResponseMessage): readonly Edit[];
  /**
   * The last word; undefined when the call was cancelled and nothing more comes. A refusal may say when to come again.
   * `outcome` is for whoever counts, where the word does not tell it.
   */
  end(answer: Buffer | undefined, retryAfterSeconds?: number, outcome?: CallOutcome): Drain;
}

interface Call {
  /** The child that owes the answer. */
  readonly life: Life;
  readonly id: RawJson;
  readonly token: RawJson | undefined;
  readonly exchange: Exchange;
  deadline: number;
  /** Beyond it no progress helps. */
  lastDeadline: number;
}

const waitsForClient = ({ exchange }: Call): boolean =>
  (exchange.standsFor ?? exchange).waitsForClient === true;

/** How many times the usual wait a call may take that keeps reporting progress. */
export const MAX_EXTENSION = 12;

/**
 * Ids of clients are seldom longer, so that they fit into an answer where the key stood (`spliceInPlace`). Servers may keep
 * ids in 32 bits.
 */
const FIRST_KEY = 1_000_000_000;

export class Calls {
  readonly #calls = new InFlight<Call>(FIRST_KEY);
  readonly #ended: (outcome: CallOutcome, exchange: Exchange) => void;
  /** Looked for again when its call has ended: children talk more than calls end. */
  #newestStreaming: { readonly key: number; readonly exchange: Exchange } | 'none' | 'unknown' = 'none';

  constructor(ended: (outcome: CallOutcome, exchange: Exchange) => void) {
    this.#ended = ended;
  }

  get size(): number {
    return this.#calls.size;
  }

  /** The key is the id, and the progress token, under which the child sees the request. */
  add(
    message: RequestMessage,
    exchange: Exchange,
    life: Life,
    now: number,
    requestMs: number,
  ): { key: number; line: Buffer } {
    const { bytes, id, token } = message;
    const key = this.#calls.add({
      life,
      id: rawAt(bytes, id),
      token: token && rawAt(bytes, token),
      exchange,
      deadline: now + requestMs,
      lastDeadline: now + requestMs * MAX_EXTENSION,
    });
    if (exchange.streams) this.#newestStreaming = { key, exchange };
    const edits: Edit[] = [{ at: id, raw: `${key}` }, ...(message.edits ?? [])];
    if (token !== undefined) edits.push({ at: token, raw: `${key}` });
    return { key, line: lineOf(bytes, edits) };
  }

  /** The child that owes the answer; undefined when nobody waits for it any more. */
  lifeOf(key: number): Life | undefined {
    return this.#calls.get(key)?.life;
  }

  /** Where messages about a call may leave before its answer. */
  streamOf(key: number | undefined): Exchange | undefined {
    const exchange = key === undefined ? undefined : this.#calls.get(key)?.exchange;
    return exchange?.streams === true ? exchange : undefined;
  }

  /** Whether this child owes any answer. */
  owes(life: Life): boolean {
    for (const [, call] of this.#calls.entries()) if (call.life === life) return true;
    return false;
  }

  /** The exchanges of the calls this child owes an answer, from the oldest on; of one alone, if it is known. */
  owedBy(life: Life, about?: number): Exchange[] {
    return this.#calls
      .entries()
      .filter(([key, call]) => call.life === life && (about ?? key) === key)
      .map(([, { exchange }]) => exchange.standsFor ?? exchange);
  }

  /** Those that wait for their client, with any child or that one. */
  waiting(life?: Life): number[] {
    return this.#calls
      .entries()
      .filter(([, call]) => waitsForClient(call) && (life ?? call.life) === call.life)
      .map(([key]) => key);
  }

  /** `late` when nobody waits for this answer from this child (any more). */
  settle(answer: ResponseMessage, life: Life): Drain | 'late' {
    const { bytes, id, result } = answer;
    const key = Number(rawAt(bytes, id));
    const call = this.#calls.get(key);
    if (call?.life !== life) return 'late';
    this.#remove(key);
    const { exchange } = call;
    const outcome = result === undefined ? 'rpc_error' : 'answered';
    this.#ended(outcome, exchange);
    const edit = { at: id, raw: call.id };
    const more = (exchange.standsFor ?? exchange).edits?.(answer) ?? [];
    const restored = more.length === 0 ? spliceInPlace(bytes, edit) : splice(bytes, [edit, ...more]);
    return exchange.end(restored, undefined, outcome);
  }

  /** Progress keeps its call alive, up to its last deadline. Returned is the notification as its client knows it, and where it belongs. */
  progress({ bytes, subject }: NotificationMessage, life: Life, deadline: number): Progress | undefined {
    const call = subject && this.#calls.get(Number(rawAt(bytes, subject)));
    if (call?.life !== life || call.token === undefined || subject === undefined) return undefined;
    call.deadline = Math.min(deadline, call.lastDeadline);
    return { message: splice(bytes, [{ at: subject, raw: call.token }]), exchange: call.exchange };
  }

  /** The key of the one call with this client id. Several may carry it; then nobody knows which one is meant. */
  find(id: RawJson): number | undefined {
    const keys = this.#calls
      .entries()
      .filter(([, call]) => call.id === id)
      .map(([key]) => key);
    return keys.length === 1 ? keys[0] : undefined;
  }

  /** Ends a call from our side: with an error, or without a word. */
  drop(key: number, outcome: CallOutcome, error?: RpcError): void {
    const call = this.#calls.get(key);
    if (call === undefined) return;
    this.#remove(key);
    this.#ended(outcome, call.exchange);
    void call.exchange.end(error && errorAnswer(call.id, error), error?.data?.retryAfterSeconds, outcome);
  }

  /** The child is gone: what it owed is owed by us. */
  dropLife(life: Life, error: RpcError): void {
    for (const [key, call] of this.#calls.entries())
      if (call.life === life) this.drop(key, 'bridge_error', error);
  }

  /** `atLast`: it used up its extensions too. */
  overdue(now: number, requestMs: number): { readonly key: number; readonly atLast: boolean }[] {
    const calls = this.#calls.entries();
    for (const [, call] of calls) {
      if (!waitsForClient(call)) continue;
      call.deadline = now + requestMs;
      call.lastDeadline = now + requestMs * MAX_EXTENSION;
    }
    return calls
      .filter(([, { deadline }]) => deadline <= now)
      .map(([key, { lastDeadline }]) => ({ key, atLast: lastDeadline <= now }));
  }

  newestStreaming(): Exchange | undefined {
    if (this.#newestStreaming === 'unknown') {
      this.#newestStreaming = 'none';
      for (const [key, { exchange }] of this.#calls.entries())
        if (exchange.streams) this.#newestStreaming = { key, exchange };
    }
    return this.#newestStreaming === 'none' ? undefined : this.#newestStreaming.exchange;
  }

  #remove(key: number): void {
    this.#calls.remove(key);
    if (typeof this.#newestStreaming === 'object' && this.#newestStreaming.key === key)
      this.#newestStreaming = 'unknown';
  }
}

export interface Progress {
  readonly message: Buffer;
  readonly exchange: Exchange;
}
