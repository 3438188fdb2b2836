/**
 * What is under way between one client and the child that serves it (two, while one takes over from the other): calls
 * and questions in flight, the streams that are open, and which message belongs where. It knows nothing of processes;
 * it is given a way to write to a child.
 */
import type { Clock } from '../base/clock.js';
import type { Log } from '../base/log.js';
import {
  lineOf,
  type NotificationMessage,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
  readMessage,
} from '../mcp/message.js';
import { notification, type RpcError, resultAnswer } from '../mcp/protocol.js';
import { Asks, type Word } from './asks.js';
import { Calls, type Drain, type Exchange, type Heard, MAX_EXTENSION } from './calls.js';
import * as failures from './failures.js';
import type { Life } from './lives.js';
import type { CallOutcome } from './observer.js';
import { Outbox, type Stream } from './outbox.js';
import { type Ear, QUESTION_MS } from './shared.js';

export interface DialogueOptions {
  readonly write: (life: Life, line: Buffer) => void;
  /** Takes a call back that its child has not been given yet; false when it has. */
  readonly withdraw: (life: Life, key: number) => boolean;
  /** The child that gets what is for no child in particular. */
  readonly serving: () => Life | undefined;
  readonly now: Clock;
  /** How long a call or a question waits for an answer, counted anew at a call's progress. */
  readonly requestMs: number;
  readonly canAsk: (method: string) => boolean;
  readonly onCallEnd: (outcome: CallOutcome, exchange: Exchange) => void;
  /** Of a session without a client of its own. */
  readonly ear?: Ear | undefined;
  readonly log: Log;
}

export class Dialogue {
  readonly #options: DialogueOptions;
  readonly #calls: Calls;
  readonly #asks = new Asks();
  readonly #outbox = new Outbox();
  #noise = 0;

  constructor(options: DialogueOptions) {
    this.#options = options;
    this.#calls = new Calls(options.onCallEnd);
  }

  get callsInFlight(): number {
    return this.#calls.size;
  }

  /** Those that wait for their child, and not for their client. */
  get callsAtWork(): number {
    return this.#calls.size - this.#calls.waiting().length;
  }

  /** Whether this child owes any answer. */
  owes(life: Life): boolean {
    return this.#calls.owes(life);
  }

  /** Whether a client listens to what is no answer. */
  get isHeard(): boolean {
    return this.#options.ear?.isHeard ?? this.#outbox.isHeard;
  }

  /** Takes a call into the books; the line is for the caller to write to that child. */
  call(message: RequestMessage, exchange: Exchange, life: Life): { key: number; line: Buffer } {
    this.#outbox.offer(exchange);
    const { now, requestMs } = this.#options;
    return this.#calls.add(message, exchange, life, now(), requestMs);
  }

  refuse(key: number, error: RpcError): void {
    this.#calls.drop(key, 'bridge_error', error);
  }

  /** The client no longer waits, or (then with an error for it) waited too long. */
  giveUp(key: number, reason: string, error?: RpcError): void {
    this.#cancel(key, reason, error === undefined ? 'cancelled' : 'timeout', error);
  }

  /** Gives up the calls that wait for their clients, of all children or of that one. */
  abandon(error: RpcError, life?: Life): void {
    for (const key of this.#calls.waiting(life)) this.#cancel(key, error.message, 'bridge_error', error);
  }

  #cancel(key: number, reason: string, outcome: CallOutcome, error: RpcError | undefined): void {
    const life = this.#calls.lifeOf(key);
    if (life === undefined) return;
    if (!this.#options.withdraw(life, key)) {
      const cancelled = notification('notifications/cancelled', { requestId: key, reason });
      this.#options.write(life, lineOf(cancelled));
    }
    this.#calls.drop(key, outcome, error);
  }

  notify(message: NotificationMessage): void {
    const { bytes, method, subject } = message;
    if (method === 'notifications/progress') {
      this.#say(this.#asks.progress(message));
    } else if (method === 'notifications/cancelled') {
      const key = subject && this.#calls.find(rawAt(bytes, subject));
      const life = key && this.#calls.lifeOf(key);
      if (key === undefined || life === undefined || subject === undefined) return;
      if (!this.#options.withdraw(life, key))
        this.#options.write(life, lineOf(bytes, [{ at: subject, raw: `${key}` }]));
      this.#calls.drop(key, 'cancelled');
    } else {
      const life = this.#options.serving();
      if (life !== undefined) this.#options.write(life, lineOf(bytes));
    }
  }

  /** The client's answer to a question of the child; to anything else it is no answer. */
  answer(message: ResponseMessage): void {
    this.#say(this.#asks.settle(message));
  }

  listen(stream: Stream): () => void {
    this.#outbox.listen(stream);
    return () => this.#outbox.hangUp(stream);
  }

  expire(now: number): void {
    const { requestMs } = this.#options;
    for (const { key, atLast } of this.#calls.overdue(now, requestMs)) {
      this.giveUp(key, 'timed out', failures.timedOut(atLast ? requestMs * MAX_EXTENSION : requestMs));
    }
    for (const word of this.#asks.expire(now, failures.clientSilent)) this.#say(word);
  }

  /** A child is gone: what it owed is owed by us, what it asked is moot. */
  lose(life: Life, error: RpcError): void {
    this.#options.ear?.lost?.(life, error);
    this.#asks.forget(life);
    this.#outbox.forgetRequests(life);
    this.#calls.dropLife(life, error);
  }

  /** Ends the standing stream; its client may open another. */
  hangUp(): void {
    this.#outbox.hangUpAll();
    this.#options.ear?.hangUp();
  }

  close(): void {
    this.#outbox.close();
    this.#options.ear?.closed();
  }

  /**
   * One line from a child, about a call of it if that is known. What is returned is for a child that talks faster than its
   * client reads.
   */
  hear(life: Life, line: Buffer, about?: number): Heard {
    if (line.length === 0) return { settled: false, drain: undefined };
    const message = readMessage(line);
    if (message.kind === 'response' || message.kind === 'notification') {
      const heard = this.#options.ear?.first?.(message);
      if (heard !== undefined) return heard;
    }
    switch (message.kind) {
      case 'response': {
        const drain = this.#calls.settle(message, life);
        if (drain !== 'late') return { settled: true, drain };
        this.#options.log.debug('child.late-answer');
        return { settled: false, drain: undefined };
      }
      case 'request':
        if (this.#options.ear !== undefined && this.#options.ear.ask === undefined) {
          this.#ignore('a request');
          return { settled: false, drain: undefined };
        }
        return { settled: false, drain: this.#ask(message, life, about) };
      case 'notification':
        return { settled: false, drain: this.#pass(message, life) };
      case 'invalid':
        this.#ignore(message.why);
        return { settled: false, drain: undefined };
    }
  }

  /** Told sparsely: of the 1st, 2nd, 4th, 8th … line that means nothing. */
  #ignore(why: string): void {
    this.#noise += 1;
    if ((this.#noise & (this.#noise - 1)) === 0)
      this.#options.log.warn('child.noise', { lines: this.#noise, why });
  }

  #ask(message: RequestMessage, life: Life, about: number | undefined): Drain {
    const { ear } = this.#options;
    if (ear !== undefined) return this.#askShared(message, life, about, ear);
    const newest = this.#calls.streamOf(about) ?? this.#calls.newestStreaming();
    const id = rawAt(message.bytes, message.id);
    if (message.method === 'ping' && !this.#outbox.canReach(newest)) {
      this.#options.write(life, lineOf(resultAnswer(id, {})));
      return undefined;
    }
    if (!this.#options.canAsk(message.method)) {
      this.#options.write(life, failures.refuseChild(id));
      return undefined;
    }
    const asked = this.#asks.add(message, life, this.#deadline());
    return this.#outbox.post(life, 'request', asked, newest);
  }

  #askShared(message: RequestMessage, life: Life, about: number | undefined, ear: Ear): Drain {
    if (message.method === 'ping') {
      this.#options.write(life, lineOf(resultAnswer(rawAt(message.bytes, message.id), {})));
      return undefined;
    }
    const asked = readMessage(this.#asks.add(message, life, this.#options.now() + QUESTION_MS));
    return asked.kind === 'request' ? ear.ask?.(asked, this.#calls.owedBy(life, about)) : undefined;
  }

  #deadline(): number {
    return this.#options.now() + this.#options.requestMs;
  }

  #pass(message: NotificationMessage, life: Life): Drain {
    const { ear } = this.#options;
    const newest = this.#calls.newestStreaming();
    switch (message.method) {
      case 'notifications/progress': {
        const progress = this.#calls.progress(message, life, this.#deadline());
        if (progress === undefined) return undefined;
        if (progress.exchange.streams) return progress.exchange.send(progress.message);
        return this.#outbox.post(life, 'progress', progress.message, undefined);
      }
      case 'notifications/cancelled': {
        const cancelled = this.#asks.cancel(message, life);
        if (ear === undefined) return cancelled && this.#outbox.post(life, 'request', cancelled, newest);
        const known = cancelled && readMessage(cancelled);
        return known?.kind === 'notification' ? ear.note(known, this.#calls.owedBy(life)) : undefined;
      }
      case 'notifications/message':
        if (ear !== undefined) return ear.note(message, this.#calls.owedBy(life));
        return this.#outbox.post(life, 'log', message.bytes, newest);
      default:
        if (ear !== undefined) return ear.note(message, this.#calls.owedBy(life));
        return this.#outbox.post(life, 'change', message.bytes, newest);
    }
  }

  #say(word: Word | undefined): void {
    if (word !== undefined) this.#options.write(word.life, word.line);
  }
}
