/** A request of a modern client on its way to a modern server: what is noticed of it, and of its answer. */
import type { ModernRequest } from '../mcp/envelope.js';
import type { LogLevel } from '../mcp/log-levels.js';
import { relayed } from '../mcp/relayed-results.js';
import type { Drain, Exchange } from './calls.js';
import type { CallOutcome } from './observer.js';

export class RelayedCall implements Exchange {
  readonly #exchange: Exchange;
  readonly #request: ModernRequest;
  readonly #heard: ((answer: Buffer) => void) | undefined;

  /** `heard` gets what the server answers, as the client gets it. */
  constructor(exchange: Exchange, request: ModernRequest, heard?: (answer: Buffer) => void) {
    this.#exchange = exchange;
    this.#request = request;
    this.#heard = heard;
  }

  get streams(): boolean {
    return this.#exchange.streams;
  }

  /** From which level on it wants to hear what the server logs. */
  get logLevel(): LogLevel | undefined {
    return this.#request.envelope.logLevel;
  }

  send(message: Buffer): Drain {
    return this.#exchange.send(message);
  }

  end(answer: Buffer | undefined, retryAfterSeconds?: number, outcome?: CallOutcome): Drain {
    const told = answer && relayed(this.#request.message.method, answer);
    if (told !== undefined) this.#heard?.(told);
    return this.#exchange.end(told, retryAfterSeconds, outcome);
  }
}
