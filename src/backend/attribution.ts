/**
 * Which of the calls that a child works on a question of it is about. Nothing says so; with one call it is that one, with
 * several the one that the child was set to last is the most likely. A guess may be wrong, so that what was guessed is
 * remembered: a question outlives the call it was taken for, as long as there is another it may belong to.
 */
import type { RequestMessage } from '../mcp/message.js';

/** What has to be known of a call. */
export interface Attributable {
  /** Whether the child works on it, and may ask. */
  readonly mayAsk: boolean;
  /** Whether it has asked, and waits for its client. */
  readonly waitsForClient: boolean;
}

export class Attribution<Call extends Attributable> {
  /** Calls that were once confused with others: one may wait for its client with a question that is another's. */
  readonly #confused = new WeakSet<Call>();
  readonly #possible = new WeakMap<RequestMessage, readonly Call[]>();

  /** `calls`: those of the child that asks, the one it was set to last at the end. `isCertain` unless it is a guess. */
  attribute(
    question: RequestMessage,
    calls: readonly Call[],
  ): { readonly call: Call | undefined; readonly isCertain: boolean } {
    const possible = calls.filter((call) => call.mayAsk || this.#confused.has(call));
    const isCertain = possible.length < 2;
    if (!isCertain) for (const call of possible) this.#confused.add(call);
    this.#possible.set(question, possible);
    // One that waits has asked already; but a child may ask several things one after the other.
    const call = likeliest(calls);
    return { call, isCertain };
  }

  /** The call it was taken for is over; `isInFlight` says which are not. */
  next(question: RequestMessage, over: Call, isInFlight: (call: Call) => boolean): Call | undefined {
    const others = (this.#possible.get(question) ?? []).filter((call) => call !== over && isInFlight(call));
    this.#possible.set(question, others);
    return likeliest(others);
  }
}

const likeliest = <Call extends Attributable>(calls: readonly Call[]): Call | undefined =>
  calls.findLast(({ mayAsk }) => mayAsk) ?? calls.findLast(({ waitsForClient }) => waitsForClient);
