/**
 * The calls of a legacy client that a modern child has not answered for good: each may take several rounds, in which the
 * child knows it under another id, and the client is asked; the client sees one call. Book and event in, book and lines out.
 */
import type { Need } from './capabilities.js';
import { type RawJson, splice } from './message.js';
import { MODERN_METHODS } from './methods.js';
import type { ResultMembers } from './modern-child-results.js';
import {
  type Answers,
  type InputRequest,
  MAX_ROUNDS,
  NOT_KEPT,
  readRound,
  requestOf,
  responseOf,
  retryEdits,
  TOO_MANY_ROUNDS,
  unanswered,
} from './modern-child-rounds.js';
import { errorAnswer, type RpcError, withdrawal } from './protocol.js';
import type { Span } from './scan.js';

export interface CallBook {
  /** By the client's id. */
  readonly calls: ReadonlyMap<RawJson, Call>;
  /** Retries: the id the child knows -> the client's. */
  readonly retries: ReadonlyMap<RawJson, RawJson>;
  /** Questions that the client has not answered: their id -> the client's id of the call. */
  readonly asks: ReadonlyMap<RawJson, RawJson>;
  /** Bytes of calls and answers that are kept for retries. */
  readonly held: number;
  readonly maxHeld: number;
  readonly lastId: number;
}

export interface Call {
  readonly method: string;
  /** As the child got it first; kept for a retry, if there is room. */
  readonly line: Buffer | undefined;
  /** The id the child knows now; undefined while the client is asked. */
  readonly id: RawJson | undefined;
  readonly rounds: number;
  readonly asked: ReadonlyMap<RawJson, InputRequest>;
  readonly answers: Answers;
  readonly requestState: RawJson | undefined;
  readonly held: number;
}

export interface CallStep {
  readonly book: CallBook;
  readonly toChild: readonly Buffer[];
  readonly toClient: readonly Buffer[];
}

export const emptyBook = (maxHeld: number): CallBook => ({
  calls: new Map(),
  retries: new Map(),
  asks: new Map(),
  held: 0,
  maxHeld,
  lastId: 0,
});

/** Ids of ours are strings, those of sessions are numbers. */
export const isOurs = (id: RawJson): boolean => id.startsWith('"fjmcp-');

const stay = (book: CallBook): CallStep => ({ book, toChild: [], toClient: [] });

/** A request goes to the child as `line`. */
export function begin(book: CallBook, id: RawJson, method: string, line: Buffer): CallBook {
  const mayAsk = MODERN_METHODS.get(method)?.mayAsk === true;
  // Its answer is looked at, too.
  if (!mayAsk && method !== 'tools/list') return book;
  const isKept = mayAsk && book.held <= book.maxHeld;
  return withCall(book, id, {
    method,
    line: isKept ? line : undefined,
    id,
    rounds: 0,
    asked: new Map(),
    answers: new Map(),
    requestState: undefined,
    held: isKept ? line.length : 0,
  });
}

/** The call is over: what was asked for it is taken back. */
export function end(book: CallBook, id: RawJson): CallStep {
  const call = book.calls.get(id);
  if (call === undefined) return stay(book);
  const asks = [...call.asked.keys()];
  const next = {
    ...book,
    calls: without(book.calls, [id]),
    retries: call.id === undefined ? book.retries : without(book.retries, [call.id]),
    asks: without(book.asks, asks),
    held: book.held - call.held,
  };
  return { book: next, toChild: [], toClient: asks.map(withdrawal) };
}

/** The client answers a question, which may be the last of its round. */
export function answer(book: CallBook, ask: RawJson, line: Buffer, result: Span | undefined): CallStep {
  const id = book.asks.get(ask);
  const call = id === undefined ? undefined : book.calls.get(id);
  const input = call?.asked.get(ask);
  if (id === undefined || call === undefined || input === undefined) return stay(book);
  const raw = responseOf(input, line, result);
  if (raw === undefined) return fail(book, id, unanswered(input, line));
  if (book.held + raw.length > book.maxHeld * 2) return fail(book, id, NOT_KEPT);
  const asked = without(call.asked, [ask]);
  const answers = new Map(call.answers).set(input.key, raw);
  const held = call.held + raw.length;
  const asks = without(book.asks, [ask]);
  const next = withCall({ ...book, asks }, id, { ...call, asked, answers, held });
  return asked.size > 0 ? stay(next) : retry(next, id);
}

/** The child wants to know something before it goes on with the call that has this id with the client. */
export function inquire(
  book: CallBook,
  id: RawJson,
  line: Buffer,
  found: ResultMembers,
  may: ReadonlySet<Need>,
): CallStep {
  const call = book.calls.get(id);
  // MCP 2026-07-28, basic/patterns/mrtr: on other requests a server must not.
  if (call?.line === undefined) return fail(book, id, NOT_KEPT);
  if (call.rounds >= MAX_ROUNDS) return fail(book, id, TOO_MANY_ROUNDS);
  const round = readRound(line, found, may);
  if ('code' in round) return fail(book, id, round);
  const { inputs, requestState } = round;
  const asked = new Map(inputs.map((input, at) => [`"fjmcp-${book.lastId + 1 + at}"`, input]));
  const next = withCall(
    {
      ...book,
      retries: call.id === undefined ? book.retries : without(book.retries, [call.id]),
      asks: new Map([...book.asks, ...[...asked.keys()].map((ask) => [ask, id] as const)]),
      lastId: book.lastId + asked.size,
    },
    id,
    {
      ...call,
      id: undefined,
      rounds: call.rounds + 1,
      asked,
      answers: new Map(),
      requestState,
      held: call.line.length + (requestState?.length ?? 0),
    },
  );
  if (asked.size === 0) return retry(next, id);
  return { ...stay(next), toClient: [...asked].map(([ask, input]) => requestOf(input, ask)) };
}

function retry(book: CallBook, id: RawJson): CallStep {
  const call = book.calls.get(id);
  if (call?.line === undefined) return stay(book);
  const lastId = book.lastId + 1;
  const retryId = `"fjmcp-${lastId}"`;
  const line = splice(call.line, retryEdits(call.line, retryId, call.requestState, call.answers));
  const next = { ...call, id: retryId, answers: new Map(), requestState: undefined, held: call.line.length };
  const retries = new Map(book.retries).set(retryId, id);
  return { ...stay(withCall({ ...book, retries, lastId }, id, next)), toChild: [line] };
}

function fail(book: CallBook, id: RawJson, error: RpcError): CallStep {
  const step = end(book, id);
  return { ...step, toClient: [...step.toClient, errorAnswer(id, error)] };
}

function withCall(book: CallBook, id: RawJson, call: Call): CallBook {
  const before = book.calls.get(id)?.held ?? 0;
  return { ...book, calls: new Map(book.calls).set(id, call), held: book.held - before + call.held };
}

function without<V>(map: ReadonlyMap<RawJson, V>, ids: readonly RawJson[]): ReadonlyMap<RawJson, V> {
  if (!ids.some((id) => map.has(id))) return map;
  const rest = new Map(map);
  for (const id of ids) rest.delete(id);
  return rest;
}
