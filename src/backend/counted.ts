/**
 * The exchange of a modern request, which counts how it ended: once, whoever ends it, and also if its client leaves while
 * nobody has anything to do with it yet. What a child has to do with it in between is counted by nobody else.
 */
import { isResult } from './answers.js';
import type { Drain, Exchange } from './calls.js';
import type { CallOutcome } from './observer.js';
import type { Sessions } from './sessions.js';

export class Counted implements Exchange {
  readonly #exchange: Exchange;
  readonly #sessions: Pick<Sessions, 'called'>;
  readonly #server: string;
  #isOver: boolean = false;

  constructor(exchange: Exchange, sessions: Pick<Sessions, 'called'>, server: string) {
    this.#exchange = exchange;
    this.#sessions = sessions;
    this.#server = server;
  }

  get streams(): boolean {
    return this.#exchange.streams;
  }

  send(message: Buffer): Drain {
    return this.#exchange.send(message);
  }

  end(answer: Buffer | undefined, retryAfterSeconds?: number, outcome = outcomeOf(answer)): Drain {
    if (this.#isOver) return undefined;
    this.#isOver = true;
    this.#sessions.called(this.#server, outcome);
    return this.#exchange.end(answer, retryAfterSeconds);
  }
}

/** Of what we say ourselves: answers of children come with theirs. */
function outcomeOf(answer: Buffer | undefined): CallOutcome {
  if (answer === undefined) return 'cancelled';
  return isResult(answer) ? 'answered' : 'bridge_error';
}
