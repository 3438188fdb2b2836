/**
 * What modern requests get from no child: refusals; and what breaks on the way to a child is an incident for the operator
 * and an error for its client, not the end of the broker.
 */
import { type Randomness, randomId } from '../base/ids.js';
import { describeError, type Log } from '../base/log.js';
import type { Maybe } from '../base/maybe.js';
import type { RpcError } from '../mcp/protocol.js';
import { refuse } from './answers.js';
import type { Exchange } from './calls.js';
import * as failures from './failures.js';
import type { Asked } from './modern.js';

export interface RefusalsOptions {
  readonly random: Randomness;
  readonly log: Log;
}

export class Refusals {
  readonly #options: RefusalsOptions;

  constructor(options: RefusalsOptions) {
    this.#options = options;
  }

  refuse({ request: { message } }: Asked, exchange: Exchange, error: RpcError): () => void {
    return refuse(message, exchange, error);
  }

  /** Does `work`, at once or later, on behalf of a request that is answered even if that breaks. */
  attempt(asked: Asked, exchange: Exchange, work: () => Maybe<void>): void {
    try {
      const done = work();
      if (done instanceof Promise) done.catch((error: unknown) => this.#fail(asked, exchange, error));
    } catch (error) {
      this.#fail(asked, exchange, error);
    }
  }

  #fail(asked: Asked, exchange: Exchange, error: unknown): void {
    const { random, log } = this.#options;
    const incident = randomId<string>(random, 'in_');
    const { server, request } = asked;
    const { method } = request.message;
    log.error('request.failed', { incident, server, method, error: describeError(error) });
    const { brokenBridge } = failures;
    this.refuse(asked, exchange, { ...brokenBridge, message: `${brokenBridge.message} (${incident})` });
  }
}
