/**
 * One request of a modern client while a legacy server works on it: what the server says of it leaves in the words of
 * the client's era. It knows no other request; which log messages and questions are about it, others decide.
 */
import type { ModernRequest } from '../mcp/envelope.js';
import { bringsInput } from '../mcp/input-required.js';
import { type ServerSide, toModernEdits } from '../mcp/legacy-to-modern.js';
import { type LogLevel, wants } from '../mcp/log-levels.js';
import {
  type Edit,
  type NotificationMessage,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
} from '../mcp/message.js';
import { errorAnswer } from '../mcp/protocol.js';
import type { Drain, Exchange } from './calls.js';
import { noCallToAsk } from './failures.js';
import type { CallOutcome } from './observer.js';

/** What a request needs to know of the child that works on it. */
export interface Child {
  readonly side: ServerSide;
  /** Brings the child an answer to its question, under the id of the question. */
  answer(line: Buffer): void;
  /** A request is done, or waits for its client: another one may have its place. */
  released(exchange: ModernExchange): void;
  /** A request is over, and a question that was taken to be about it is not answered. */
  letGo(question: RequestMessage, exchange: ModernExchange): Drain;
  /** Its client has come back: what the child asks next is likely to be about it. */
  resumed(exchange: ModernExchange): void;
}

export class ModernExchange implements Exchange {
  /** As its client made it last. */
  request: ModernRequest;
  /** Where its lane finds it among those in flight. */
  place: number = 0;
  /** Of the client that made it, or came back to it, last. */
  protected exchange: Exchange;
  protected readonly child: Child;
  readonly #heard: (answer: Buffer) => void;
  #isOver: boolean = false;

  /** `heard` gets the answer as the child gave it. */
  constructor(
    request: ModernRequest,
    exchange: Exchange,
    child: Child,
    heard: (answer: Buffer) => void = () => undefined,
  ) {
    this.request = request;
    this.#heard = heard;
    this.exchange = exchange;
    this.child = child;
  }

  get streams(): boolean {
    return this.exchange.streams;
  }

  get waitsForClient(): boolean {
    return false;
  }

  /** Who its answer is from, and how long that is good for. */
  protected get side(): ServerSide {
    const { side } = this.child;
    return side.ttlMs > 0 && bringsInput(this.request) ? { ...side, ttlMs: 0 } : side;
  }

  /** Whether a question of the child may be about it: it is worked on, and its method may ask (`modern-call.ts`). */
  get mayAsk(): boolean {
    return false;
  }

  /** Of what it asked for, its progress. */
  send(message: Buffer): Drain {
    return this.exchange.send(message);
  }

  /** A log message of its child. */
  log(message: NotificationMessage, level: LogLevel | undefined): Drain {
    const isWanted = this.streams && wants(this.request.envelope.logLevel, level);
    return isWanted ? this.exchange.send(message.bytes) : undefined;
  }

  /** A question of the child that is about this request: here, of a method that cannot ask. */
  ask({ bytes, id }: RequestMessage): Drain {
    this.child.answer(errorAnswer(rawAt(bytes, id), noCallToAsk));
    return undefined;
  }

  /** The child takes a question back: perhaps one about this request. */
  takeBack(_cancelled: NotificationMessage): void {}

  edits(answer: ResponseMessage): readonly Edit[] {
    this.#heard(answer.bytes);
    return toModernEdits(this.request.message.method, answer, this.side);
  }

  end(answer: Buffer | undefined, retryAfterSeconds?: number, outcome?: CallOutcome): Drain {
    if (this.#isOver) return undefined;
    this.#isOver = true;
    this.child.released(this);
    return this.exchange.end(answer, retryAfterSeconds, outcome);
  }
}
