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
  /** It has ended, and is counted. */
  #isOver: boolean = false;
  /** Its client left before that. */
  #isGone: boolean = false;
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
    return this.#isGone;
  }

  send(message: Buffer): Drain {
    return this.#exchange.send(message);
  }

  end(answer: Buffer | undefined, retryAfterSeconds?: number, outcome = outcomeOf(answer)): Drain {
    if (this.#isOver) return undefined;
    this.#isOver = true;
    // An exchange may be kept far longer than its request, which this may hold.
    this.#leave = undefined;
    this.#sessions.called(this.#server, outcome);
    return this.#exchange.end(answer, retryAfterSeconds, outcome);
  }

  /** Replaces what was to be done when the client goes away before its answer; done at once if nobody waits any more. */
  leaveWithClient(leave: () => void): void {
    if (this.#isGone || this.#isOver) leave();
    else this.#leave = leave;
  }

  /** The client goes away. */
  readonly go = (): void => {
    if (this.#isGone || this.#isOver) return;
    this.#isGone = true;
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
