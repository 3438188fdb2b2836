/**
 * The exchange of a modern request, as long as its client waits: it counts how the request ended, once, whoever ends it,
 * and knows what has to be done if the client goes away. What a child has to do with it in between is counted by nobody
 * else.
 */
import { isResult } from './answers.js';
import type { Drain, Exchange } from './calls.js';
import type { CallOutcome } from './observer.js';
import type { Sessions } from './sessions.js';

export class ClientExchange implements Exchange {
  readonly #exchange: Exchange;
  readonly #sessions: Pick<Sessions, 'called'>;
  readonly #server: string;
  #client: 'waits' | 'is gone' | 'has its answer' = 'waits';
  #leave: (() => void) | undefined;

  constructor(exchange: Exchange, sessions: Pick<Sessions, 'called'>, server: string) {
    this.#exchange = exchange;
    this.#sessions = sessions;
    this.#server = server;
  }

  get streams(): boolean {
    return this.#exchange.streams;
  }

  get isGone(): boolean {
    return this.#client === 'is gone';
  }

  send(message: Buffer): Drain {
    return this.#exchange.send(message);
  }

  end(answer: Buffer | undefined, retryAfterSeconds?: number, outcome = outcomeOf(answer)): Drain {
    if (this.#client === 'has its answer') return undefined;
    this.#client = 'has its answer';
    // It may be kept far longer than the request, which this may hold.
    this.#leave = undefined;
    this.#sessions.called(this.#server, outcome);
    return this.#exchange.end(answer, retryAfterSeconds, outcome);
  }

  /** From now on `leave` is what has to be done when the client goes away before its answer: at once, if it has gone. */
  whenGone(leave: () => void): void {
    if (this.#client === 'waits') this.#leave = leave;
    else if (this.#client === 'is gone') leave();
  }

  /** The client goes away. */
  readonly go = (): void => {
    if (this.#client !== 'waits') return;
    this.#client = 'is gone';
    this.#leave?.();
    // If it has not come to anybody yet.
    void this.end(undefined);
  };
}

/** Of what we say ourselves: answers of children come with theirs. */
function outcomeOf(answer: Buffer | undefined): CallOutcome {
  if (answer === undefined) return 'cancelled';
  return isResult(answer) ? 'answered' : 'bridge_error';
}
