/**
 * The calls of modern clients to legacy children that ask: begun, left waiting for their client, and gone on with when it
 * comes back with the state it was given. It decides who may come back to what, and how much is kept for how long; all of
 * it in memory, for a child that asked something ends with the broker.
 */
import { type Clock, MINUTE } from '../base/clock.js';
import { type Randomness, randomId } from '../base/ids.js';
import type { ModernRequest } from '../mcp/envelope.js';
import { type Input, readInput } from '../mcp/input-required.js';
import { textAt, valueAt } from '../mcp/message.js';
import type { RpcError } from '../mcp/protocol.js';
import type { Exchange } from './calls.js';
import * as failures from './failures.js';
import { type Keeper, ModernCall } from './modern-call.js';
import type { Child, ModernExchange } from './modern-exchange.js';
import { openState, type Place, type Sealer, sealState } from './request-state.js';

export interface ParkedCallsOptions {
  readonly sealer: Sealer;
  readonly now: Clock;
  readonly random: Randomness;
  /** What the parked calls of a user may keep in memory: at least one message of the largest size. */
  readonly maxBytesPerUser: number;
}

/** The child, and the way to it. */
export interface CallLane extends Child {
  /** What is returned takes the call back. */
  carry(call: ModernExchange): (why?: string) => void;
}

/** How long a user may take to answer. */
export const PARKED_MS = 10 * MINUTE;
/** Clients ask and forget; beyond this, the calls go whose users have been silent longest. */
export const MAX_PARKED_PER_USER = 100;

/** A retry that leads to a call, or why it leads nowhere. */
export type Retry = ((exchange: Exchange) => () => void) | { readonly fault: RpcError };

export class ParkedCalls implements Keeper {
  readonly #options: ParkedCallsOptions;
  /** By user, and then by id: those that were ever parked and are not over. */
  readonly #kept = new Map<string, Map<string, ModernCall>>();

  constructor(options: ParkedCallsOptions) {
    this.#options = options;
  }

  /** A new call. What is returned is for a client that goes away. */
  begin(place: Place, exchange: Exchange, lane: CallLane): () => void {
    const call = new ModernCall(place, exchange, lane, this);
    return call.begin(lane.carry(call));
  }

  deadline(): number {
    return this.#options.now() + PARKED_MS;
  }

  stateFor(call: ModernCall, goal: 'this round' | 'a new call', until: number): string {
    const { round } = call;
    return sealState(
      this.#options.sealer,
      call,
      goal === 'a new call' ? goal : { call: this.#nameOf(call), round },
      until,
    );
  }

  /** Most calls are never parked, and need none. */
  #nameOf(call: ModernCall): string {
    call.id ??= randomId<string>(this.#options.random, 'ca_');
    return call.id;
  }

  /** What goes on with the call that this one is a retry of. What that returns is for a client that goes away. */
  find(place: Place): Retry | 'a new call' {
    const { sealer, now } = this.#options;
    const { caller, request } = place;
    const input = readInput(request);
    if ('fault' in input) return input;
    // Without it, it is a new call, whatever answers it brings.
    if (input.requestState === undefined) return 'a new call';
    const goal = openState(sealer, place, input.requestState, now());
    if (goal === 'a new call') return isDeclined(request, input) ? { fault: failures.declined } : goal;
    if ('fault' in goal) return goal;
    const call = this.#kept.get(caller.userId)?.get(goal.call);
    if (call === undefined) return { fault: failures.callGone };
    return (exchange) => call.resume(goal.round, input, request, exchange);
  }

  /** Those that wait for their clients now. */
  get size(): number {
    const calls = [...this.#kept.values()].flatMap((kept) => [...kept.values()]);
    return calls.filter(({ until }) => until !== undefined).length;
  }

  /** Ends what nobody came back to. */
  tick(): void {
    const now = this.#options.now();
    for (const calls of this.#kept.values())
      for (const call of calls.values()) if ((call.until ?? now + 1) <= now) call.giveUp('nobody answered');
  }

  /** Keeps a call for its client, and gives up what is too much: those first whose clients have been silent longest. */
  keep(call: ModernCall): void {
    const { userId } = call.caller;
    const calls = this.#kept.get(userId) ?? new Map<string, ModernCall>();
    this.#kept.set(userId, calls.set(this.#nameOf(call), call));
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

  forget({ caller: { userId }, id }: ModernCall): void {
    if (id === undefined) return;
    const calls = this.#kept.get(userId);
    if (calls?.delete(id) && calls.size === 0) this.#kept.delete(userId);
  }
}

/** A call that needs its user to have been somewhere is not made again when the user would not go. */
function isDeclined({ message: { bytes } }: ModernRequest, { responses }: Input): boolean {
  return [...responses.values()].some(({ start, end }) => {
    const response = bytes.subarray(start, end);
    const action = valueAt(response, ['action']);
    return action !== undefined && ['decline', 'cancel'].includes(textAt(response, action) ?? '');
  });
}
