/**
 * Runs what is done for a modern request, and answers the request if that refuses it or breaks. What breaks is an incident
 * for the operator, not the end of the broker.
 */
import { type Randomness, randomId } from '../base/ids.js';
import { describeError, type Log } from '../base/log.js';
import { after, type Maybe } from '../base/maybe.js';
import type { RpcError } from '../mcp/protocol.js';
import { refuse } from './answers.js';
import type { Exchange } from './calls.js';
import { brokenBridge } from './failures.js';
import type { Asked } from './modern.js';

export interface IncidentsOptions {
  readonly random: Randomness;
  readonly log: Log;
}

export class Incidents {
  readonly #options: IncidentsOptions;

  constructor(options: IncidentsOptions) {
    this.#options = options;
  }

  /** Does `work`, at once or later, on behalf of a request that is answered if that refuses it, or breaks. */
  attempt(asked: Asked, exchange: Exchange, work: () => Maybe<RpcError | undefined>): void {
    const end = (error: RpcError | undefined) => {
      if (error !== undefined) refuse(asked.request.message, exchange, error);
    };
    try {
      const done = after(work(), end);
      if (done instanceof Promise) done.catch((error: unknown) => end(this.#note(asked, error)));
    } catch (error) {
      end(this.#note(asked, error));
    }
  }

  /** What its client is told. */
  #note({ server, request }: Asked, error: unknown): RpcError {
    const { random, log } = this.#options;
    const incident = randomId<string>(random, 'in_');
    const { method } = request.message;
    log.error('request.failed', { incident, server, method, error: describeError(error) });
    return { ...brokenBridge, message: `${brokenBridge.message} (${incident})` };
  }
}
