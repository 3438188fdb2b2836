/**
 * The calls of modern clients to legacy children that ask: begun, left waiting for their client, and gone on with when it
 * comes back with the state it was given. It decides who may come back to what, and how much is kept for how long; all of
 * it in memory, for a child that asked something ends with the broker.
 */
import { type Clock, MINUTE, SECOND } from '../base/clock.js';
import { type Caller, type Randomness, randomId } from '../base/ids.js';
import type { ModernRequest } from '../mcp/envelope.js';
import { type Input, readInput } from '../mcp/input-required.js';
import type { ServerSide } from '../mcp/legacy-to-modern.js';
import {
  type NotificationMessage,
  type RequestMessage,
  rawAt,
  readMessage,
  textAt,
  valueAt,
} from '../mcp/message.js';
import { errorAnswer, type RpcError } from '../mcp/protocol.js';
import type { Drain, Exchange } from './calls.js';
import * as failures from './failures.js';
import { type CallSession, ModernCall, refuse } from './modern-call.js';
import { openState, type Place, type Sealer, sealState } from './request-state.js';

export interface ParkedCallsOptions {
  readonly sealer: Sealer;
  readonly now: Clock;
  readonly random: Randomness;
  /** What the parked calls of a user may keep in memory: at least one message of the largest size. */
  readonly maxBytesPerUser: number;
  /** A child of this server asked something, and works on several calls in the course of which it could have. */
  readonly onAmbiguous: (server: string) => void;
}

/** How long a user may take to answer. */
export const PARKED_MS = 10 * MINUTE;
/** Clients ask and forget; beyond this, the calls go whose users have been silent longest. */
export const MAX_PARKED_PER_USER = 100;

const GONE = () => undefined;

export class ParkedCalls implements Disposable {
  readonly #options: ParkedCallsOptions;
  readonly #ticker: NodeJS.Timeout;
  /** In flight at a child, by session. */
  readonly #inFlight = new Map<CallSession, Set<ModernCall>>();
  /** By user, and then by id: those that were ever parked and are not over. */
  readonly #kept = new Map<string, Map<string, ModernCall>>();

  constructor(options: ParkedCallsOptions) {
    this.#options = options;
    this.#ticker = setInterval(() => this.tick(), SECOND).unref();
  }

  /** For whoever counts. */
  get size(): number {
    return [...this.#kept.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * A child asks something, and does not say in the course of which of its calls: of the newest it works on. One that only
   * waits for its client can ask no more, so it is asked for last.
   */
  ask(question: RequestMessage, calls: readonly Exchange[], session: CallSession, server: string): Drain {
    const own = calls.filter((call) => call instanceof ModernCall);
    const atWork = own.filter(({ turn }) => turn === 'child');
    if (atWork.length > 1) this.#options.onAmbiguous(server);
    const call = atWork.at(-1) ?? own.findLast(({ turn }) => turn === 'client');
    if (call !== undefined) return call.ask(question);
    const { bytes, id } = question;
    const refusal = readMessage(errorAnswer(rawAt(bytes, id), failures.nobodyToAsk));
    if (refusal.kind === 'response') session.answer(refusal);
    return undefined;
  }

  /** A child takes a question back. */
  takeBack(notification: NotificationMessage, calls: readonly Exchange[]): void {
    calls.some((call) => call instanceof ModernCall && call.takeBack(notification));
  }

  /** How many calls its child works on that may ask something. */
  running(session: CallSession): number {
    return [...(this.#inFlight.get(session) ?? [])].filter(({ turn }) => turn === 'child').length;
  }

  /** A new call, of whatever method. What is returned is for a client that goes away. */
  begin(session: CallSession, place: Place, serverSide: () => ServerSide, exchange: Exchange): () => void {
    const { sealer, now } = this.#options;
    const { caller, server } = place;
    const id = randomId<string>(this.#options.random, 'ca_');
    const call = new ModernCall(session, place.request, exchange, {
      deadline: () => now() + PARKED_MS,
      stateFor: ({ request, round }, goal, until) =>
        sealState(sealer, { caller, server, request }, goal === 'this round' ? { call: id, round } : goal, until),
      serverSide,
      onParked: (parked) => this.#keep(caller, id, parked),
      onOver: (over) => {
        this.#forget(session, over);
        this.#drop(caller, id);
      },
    });
    const calls = this.#inFlight.get(session) ?? new Set();
    this.#inFlight.set(session, calls.add(call));
    return call.begin();
  }

  /** Goes on with the call that this one is a retry of. */
  resume({ caller, server, request }: Place, exchange: Exchange): (() => void) | 'a new call' {
    const { sealer, now } = this.#options;
    const input = readInput(request);
    if ('fault' in input) return turnAway(exchange, request, input.fault);
    // "A retry without it is a new call", whatever answers it brings.
    if (input.requestState === undefined) return 'a new call';
    const goal = openState(sealer, { caller, server, request }, input.requestState, now());
    if (goal === 'a new call') {
      return isDeclined(request, input) ? turnAway(exchange, request, failures.declined) : goal;
    }
    if ('fault' in goal) return turnAway(exchange, request, goal.fault);
    const call = this.#kept.get(caller.userId)?.get(goal.call);
    if (call === undefined) return turnAway(exchange, request, failures.callGone);
    return call.resume(goal.round, input, request, exchange);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#ticker);
  }

  /** Ends what nobody came back to. */
  tick(): void {
    const now = this.#options.now();
    for (const calls of this.#kept.values())
      for (const call of calls.values()) if ((call.until ?? now + 1) <= now) call.giveUp('nobody answered');
  }

  /** Keeps a call for its client, and gives up what is too much: those first whose clients have been silent longest. */
  #keep({ userId }: Caller, id: string, call: ModernCall): void {
    const calls = this.#kept.get(userId) ?? new Map<string, ModernCall>();
    this.#kept.set(userId, calls.set(id, call));
    const parked = [...calls.values()]
      .filter(({ until }) => until !== undefined)
      .toSorted((a, b) => (a.until ?? 0) - (b.until ?? 0));
    let bytes = parked.reduce((sum, kept) => sum + kept.bytes, 0);
    let count = parked.length;
    for (const oldest of parked) {
      if (count <= MAX_PARKED_PER_USER && bytes <= this.#options.maxBytesPerUser) return;
      count -= 1;
      bytes -= oldest.bytes;
      oldest.giveUp('too many calls wait for their client');
    }
  }

  #drop({ userId }: Caller, id: string): void {
    const calls = this.#kept.get(userId);
    if (calls?.delete(id) && calls.size === 0) this.#kept.delete(userId);
  }

  #forget(session: CallSession, call: ModernCall): void {
    const calls = this.#inFlight.get(session);
    if (calls?.delete(call) && calls.size === 0) this.#inFlight.delete(session);
  }
}

function turnAway(exchange: Exchange, request: ModernRequest, error: RpcError): () => void {
  void refuse(exchange, request, error);
  return GONE;
}

/** A call that needs its user to have been somewhere is not made again when the user would not go. */
function isDeclined({ message: { bytes } }: ModernRequest, { responses }: Input): boolean {
  return [...responses.values()].some(({ start, end }) => {
    const response = bytes.subarray(start, end);
    const action = valueAt(response, ['action']);
    return action !== undefined && ['decline', 'cancel'].includes(textAt(response, action) ?? '');
  });
}
