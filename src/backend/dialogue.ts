/**
 * What is under way between one client and one child: calls and questions in flight, the streams that are open, and
 * which message belongs where. It knows nothing of processes; it is given a way to write to the child.
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
import { Asks } from './asks.js';
import { Calls, type Drain, type Exchange, MAX_EXTENSION } from './calls.js';
import * as failures from './failures.js';
import { Outbox, type Stream } from './outbox.js';

export interface DialogueOptions {
  readonly write: (line: Buffer) => void;
  readonly now: Clock;
  /** How long a call or a question waits for an answer, counted anew at a call's progress. */
  readonly requestMs: number;
  readonly canAsk: (method: string) => boolean;
  readonly log: Log;
}

export class Dialogue {
  readonly #options: DialogueOptions;
  readonly #calls = new Calls();
  readonly #asks = new Asks();
  readonly #outbox = new Outbox();
  #noise = 0;

  constructor(options: DialogueOptions) {
    this.#options = options;
  }

  get callsInFlight(): number {
    return this.#calls.size;
  }

  /** Takes a call into the books; the line is for the caller to write when there is a child. */
  call(message: RequestMessage, exchange: Exchange): { key: number; line: Buffer } {
    this.#outbox.offer(exchange);
    const { now, requestMs } = this.#options;
    return this.#calls.add(message, exchange, now(), requestMs);
  }

  refuse(key: number, error: RpcError): void {
    this.#calls.drop(key, error);
  }

  /** The client no longer waits, or waited too long. */
  giveUp(key: number, reason: string, error?: RpcError): void {
    if (!this.#calls.has(key)) return;
    this.#options.write(lineOf(notification('notifications/cancelled', { requestId: key, reason })));
    this.#calls.drop(key, error);
  }

  notify(message: NotificationMessage): void {
    const { bytes, method, subject } = message;
    if (method === 'notifications/progress') {
      const line = this.#asks.progress(message);
      if (line !== undefined) this.#options.write(line);
    } else if (method === 'notifications/cancelled') {
      const key = subject && this.#calls.find(rawAt(bytes, subject));
      if (key === undefined || subject === undefined) return;
      this.#options.write(lineOf(bytes, [{ at: subject, raw: `${key}` }]));
      this.#calls.drop(key);
    } else {
      this.#options.write(lineOf(bytes));
    }
  }

  /** The client's answer to a question of the child; to anything else it is no answer. */
  answer(message: ResponseMessage): void {
    const line = this.#asks.settle(message);
    if (line !== undefined) this.#options.write(line);
  }

  listen(stream: Stream): () => void {
    this.#outbox.listen(stream);
    return () => this.#outbox.hangUp(stream);
  }

  expire(now: number): void {
    const { requestMs } = this.#options;
    for (const { key, atLast } of this.#calls.overdue(now)) {
      this.giveUp(key, 'timed out', failures.timedOut(atLast ? requestMs * MAX_EXTENSION : requestMs));
    }
    for (const line of this.#asks.expire(now, failures.clientSilent)) this.#options.write(line);
  }

  /** The child is gone: what it owed is owed by us, what it asked is moot. */
  loseChild(error: RpcError): void {
    this.#asks.clear();
    this.#outbox.forgetRequests();
    this.#calls.dropAll(error);
  }

  close(error: RpcError): void {
    this.loseChild(error);
    this.#outbox.close();
  }

  /** One line from the child. What is returned is for a child that talks faster than its client reads. */
  hear(line: Buffer): Drain {
    if (line.length === 0) return undefined;
    const message = readMessage(line);
    switch (message.kind) {
      case 'response': {
        const drain = this.#calls.settle(message);
        if (drain !== 'late') return drain;
        this.#options.log.debug('child.late-answer');
        return undefined;
      }
      case 'request':
        return this.#ask(message);
      case 'notification':
        return this.#pass(message);
      case 'invalid':
        this.#noise += 1;
        // Sparse: the 1st, 2nd, 4th, 8th … line that is no message.
        if ((this.#noise & (this.#noise - 1)) === 0) {
          this.#options.log.warn('child.noise', { lines: this.#noise, why: message.why });
        }
        return undefined;
    }
  }

  #ask(message: RequestMessage): Drain {
    const newest = this.#calls.newestStreaming();
    const id = rawAt(message.bytes, message.id);
    if (message.method === 'ping' && !this.#outbox.canReach(newest)) {
      this.#options.write(lineOf(resultAnswer(id, {})));
      return undefined;
    }
    if (!this.#options.canAsk(message.method)) {
      this.#options.write(failures.refuseChild(id));
      return undefined;
    }
    return this.#outbox.post('request', this.#asks.add(message, this.#deadline()), newest);
  }

  #deadline(): number {
    return this.#options.now() + this.#options.requestMs;
  }

  #pass(message: NotificationMessage): Drain {
    const newest = this.#calls.newestStreaming();
    switch (message.method) {
      case 'notifications/progress': {
        const progress = this.#calls.progress(message, this.#deadline());
        if (progress === undefined) return undefined;
        if (progress.exchange.streams) return progress.exchange.send(progress.message);
        return this.#outbox.post('progress', progress.message, undefined);
      }
      case 'notifications/cancelled': {
        const cancelled = this.#asks.cancel(message);
        return cancelled && this.#outbox.post('request', cancelled, newest);
      }
      case 'notifications/message':
        return this.#outbox.post('log', message.bytes, newest);
      default:
        return this.#outbox.post('change', message.bytes, newest);
    }
  }
}
