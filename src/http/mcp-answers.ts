/**
 * The answer to one POST. Its form is decided late: if the first thing the server says is the answer, it is plain JSON;
 * if something else comes first, or nothing for a while, it is an event stream (MCP 2025-11-25, transports).
 */
import type { Drain, Exchange } from '../backend/calls.js';
import type { CallOutcome } from '../backend/observer.js';
import type { Stream } from '../backend/outbox.js';
import { type Headers, type HttpExchange, jsonReply } from './http-exchange.js';
import { ACCEPTED } from './mcp-refusals.js';

/** What the client accepts. */
export type AnswerForm = 'either' | 'json' | 'stream';

/** What the answers of one endpoint have in common. */
export interface PostAnswerDesk<Owner> {
  readonly decideAfterMs: number;
  openStream(answer: PostAnswer<Owner>): Stream;
  /** Counts a long JSON answer until its client has read it. */
  hold(answer: PostAnswer<Owner>, bytes: number): Drain;
  /** Of an error that is plain JSON; 200 unless said. */
  statusOf?(error: Buffer): number;
}

export interface PostAnswerOptions<Owner> {
  readonly http: HttpExchange;
  /** To which belongs what is sent and not read. */
  readonly owner: Owner;
  readonly accept: AnswerForm;
  /** How many requests were posted. */
  readonly expected: number;
  /** MCP 2025-03-26: a batch is answered by an array. */
  readonly form: 'single' | 'batch';
}

/** What fits into what the system buffers for a connection is not counted. */
const SHORT_BYTES = 16 * 1024;
const MAX_COLLECTED_BYTES = 1024 * 1024;

type State =
  | { readonly is: 'undecided'; readonly answers: Buffer[]; readonly timer: NodeJS.Timeout | undefined }
  | { readonly is: 'streaming'; readonly stream: Stream }
  | { readonly is: 'done' };

/** It is the exchange of each of the requests. */
export class PostAnswer<Owner> implements Exchange {
  readonly http: HttpExchange;
  readonly owner: Owner;
  readonly streams: boolean;
  /** What its client's going away means, once that is known. */
  leave: () => void = () => undefined;
  isResumable: boolean = true;
  /** Read when the answer begins. */
  headers: () => Headers = noHeaders;
  readonly #desk: PostAnswerDesk<Owner>;
  readonly #options: PostAnswerOptions<Owner>;
  #state: State;
  #expected: number;
  #wasStream: boolean = false;
  #retryAfter: Headers | undefined;

  constructor(desk: PostAnswerDesk<Owner>, options: PostAnswerOptions<Owner>) {
    const { http, owner, accept, expected } = options;
    this.http = http;
    this.owner = owner;
    this.streams = accept !== 'json';
    this.#desk = desk;
    this.#options = options;
    this.#expected = expected;
    const waitMs = accept === 'stream' ? 0 : desk.decideAfterMs;
    const timer = this.streams ? setTimeout(decide, waitMs, this) : undefined;
    this.#state = { is: 'undecided', answers: [], timer };
  }

  /** From now on the client's leaving is heard: of an answer that is no stream, which hears it by itself. */
  leaveWithClient(leave: () => void): void {
    this.leave = leave;
    this.http.whenGone(() => {
      if (!this.#wasStream) leave();
    });
  }

  send(message: Buffer): Drain {
    return this.stream()?.send(message);
  }

  end(answer: Buffer | undefined, retryAfterSeconds?: number, outcome?: CallOutcome): Drain {
    this.#expected -= 1;
    if (retryAfterSeconds !== undefined) this.#retryAfter = { 'Retry-After': `${retryAfterSeconds}` };
    if (this.#state.is === 'undecided' && this.#options.accept !== 'stream') {
      const { answers } = this.#state;
      if (answer !== undefined) answers.push(answer);
      if (this.#expected === 0) return this.#answer(answers, outcome);
      // More is not collected for one array, whatever the client accepts.
      if (answers.length > 1 && totalOf(answers) > MAX_COLLECTED_BYTES) this.stream();
      return undefined;
    }
    const stream = this.stream();
    const drain = answer && stream?.send(answer);
    if (this.#expected === 0) this.#close();
    return drain;
  }

  #answer(answers: readonly Buffer[], outcome: CallOutcome | undefined): Drain {
    const [first] = answers;
    if (first === undefined && this.streams) {
      // Cancelled: there is no answer, and an event stream is the form that can end without one.
      this.stream();
      this.#close();
      return undefined;
    }
    const body = this.#options.form === 'batch' ? asArray(answers) : first;
    this.#finish();
    const { http } = this;
    if (http.isAnswered) return undefined;
    if (body === undefined) {
      http.reply(ACCEPTED);
      return undefined;
    }
    const isPlain = this.headers === noHeaders && this.#retryAfter === undefined;
    // Results may be large: they are not walked through for a status.
    const status = outcome === 'answered' ? 200 : (this.#desk.statusOf?.(body) ?? 200);
    http.reply(jsonReply(status, body, isPlain ? undefined : { ...this.headers(), ...this.#retryAfter }));
    return body.length < SHORT_BYTES ? undefined : this.#desk.hold(this, body.length);
  }

  /** The stream, opened if the form was still open; what was answered meanwhile goes first. */
  stream(): Stream | undefined {
    if (this.#state.is === 'streaming') return this.#state.stream;
    if (this.#state.is === 'done') return undefined;
    const { answers, timer } = this.#state;
    clearTimeout(timer);
    if (this.http.response.headersSent) {
      // What it was made for broke, and its client was told so.
      this.#state = { is: 'done' };
      return undefined;
    }
    const stream = this.#desk.openStream(this);
    this.#wasStream = true;
    this.#state = { is: 'streaming', stream };
    for (const answer of answers) void stream.send(answer);
    return stream;
  }

  #close(): void {
    if (this.#state.is === 'streaming') this.#state.stream.end();
    this.#finish();
  }

  #finish(): void {
    if (this.#state.is === 'undecided') clearTimeout(this.#state.timer);
    this.#state = { is: 'done' };
  }
}

const noHeaders = (): Headers => ({});

function decide(answer: Pick<PostAnswer<never>, 'stream'>): void {
  answer.stream();
}

const totalOf = (answers: readonly Buffer[]): number => answers.reduce((sum, { length }) => sum + length, 0);

function asArray(answers: readonly Buffer[]): Buffer {
  const parts = answers.flatMap((answer) => [Buffer.from(','), answer]);
  return Buffer.concat([Buffer.from('['), ...parts.slice(1), Buffer.from(']')]);
}
