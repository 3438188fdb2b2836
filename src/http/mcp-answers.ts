/**
 * The answer to one POST. Its form is decided late: if the first thing the server says is the answer, it is plain JSON;
 * if something else comes first, or nothing for a while, it is an event stream (MCP 2025-11-25, transports).
 */
import type { Drain, Exchange } from '../backend/calls.js';
import type { Stream } from '../backend/outbox.js';
import { type HttpExchange, jsonReply } from './http-exchange.js';
import { ACCEPTED } from './mcp-refusals.js';

/** What the client accepts. */
export type AnswerForm = 'either' | 'json' | 'stream';

export interface PostAnswerOptions {
  readonly http: HttpExchange;
  readonly accept: AnswerForm;
  /** How many requests were posted. */
  readonly expected: number;
  /** MCP 2025-03-26: a batch is answered by an array. */
  readonly form: 'single' | 'batch';
  readonly decideAfterMs: number;
  readonly openStream: (headers: Readonly<Record<string, string>>) => Stream;
  /** Counts a long JSON answer until its client has read it. */
  readonly holdAnswer: (bytes: number) => Drain;
  /** Read when the answer begins. */
  readonly headers: () => Readonly<Record<string, string>>;
}

/** What fits into what the system buffers for a connection is not counted. */
const SHORT_BYTES = 16 * 1024;
const MAX_COLLECTED_BYTES = 1024 * 1024;

type State =
  | { readonly is: 'undecided'; readonly answers: Buffer[]; readonly timer: NodeJS.Timeout | undefined }
  | { readonly is: 'streaming'; readonly stream: Stream }
  | { readonly is: 'done' };

export class PostAnswer {
  /** For each of the requests. */
  readonly exchange: Exchange;
  readonly #options: PostAnswerOptions;
  #state: State;
  #expected: number;
  #retryAfter: Readonly<Record<string, string>> = {};
  #isStream = false;

  constructor(options: PostAnswerOptions) {
    this.#options = options;
    this.#expected = options.expected;
    this.exchange = {
      streams: options.accept !== 'json',
      send: (message) => this.#stream()?.send(message),
      end: (answer, retryAfterSeconds) => this.#end(answer, retryAfterSeconds),
    };
    const waitMs = options.accept === 'stream' ? 0 : options.decideAfterMs;
    const timer = this.exchange.streams ? setTimeout(() => this.#stream(), waitMs) : undefined;
    this.#state = { is: 'undecided', answers: [], timer };
  }

  /** Whether it became a stream, which hears itself when its connection goes. */
  get isStream(): boolean {
    return this.#isStream;
  }

  #end(answer: Buffer | undefined, retryAfterSeconds?: number): Drain {
    this.#expected -= 1;
    if (retryAfterSeconds !== undefined) this.#retryAfter = { 'Retry-After': `${retryAfterSeconds}` };
    if (this.#state.is === 'undecided' && this.#options.accept !== 'stream') {
      const { answers } = this.#state;
      if (answer !== undefined) answers.push(answer);
      if (this.#expected === 0) return this.#answer(answers);
      // More is not collected for one array, whatever the client accepts.
      if (answers.length > 1 && totalOf(answers) > MAX_COLLECTED_BYTES) this.#stream();
      return undefined;
    }
    const stream = this.#stream();
    const drain = answer && stream?.send(answer);
    if (this.#expected === 0) this.#close();
    return drain;
  }

  #answer(answers: readonly Buffer[]): Drain {
    const [first] = answers;
    if (first === undefined && this.exchange.streams) {
      // Cancelled: there is no answer, and an event stream is the form that can end without one.
      this.#stream();
      this.#close();
      return undefined;
    }
    const body = this.#options.form === 'batch' ? asArray(answers) : first;
    this.#finish();
    const { http, headers, holdAnswer } = this.#options;
    if (http.response.destroyed) return undefined;
    if (body === undefined) {
      http.reply(ACCEPTED);
      return undefined;
    }
    http.reply(jsonReply(200, body, { ...headers(), ...this.#retryAfter }));
    return body.length < SHORT_BYTES ? undefined : holdAnswer(body.length);
  }

  /** The stream, opened if the form was still open; what was answered meanwhile goes first. */
  #stream(): Stream | undefined {
    if (this.#state.is === 'streaming') return this.#state.stream;
    if (this.#state.is === 'done') return undefined;
    const { answers, timer } = this.#state;
    clearTimeout(timer);
    const stream = this.#options.openStream(this.#options.headers());
    this.#isStream = true;
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

const totalOf = (answers: readonly Buffer[]): number => answers.reduce((sum, { length }) => sum + length, 0);

function asArray(answers: readonly Buffer[]): Buffer {
  const parts = answers.flatMap((answer) => [Buffer.from(','), answer]);
  return Buffer.concat([Buffer.from('['), ...parts.slice(1), Buffer.from(']')]);
}
