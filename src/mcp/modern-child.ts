/**
 * A modern child (MCP 2026-07-28) as a legacy client's session knows servers: state and a line in, state and lines out.
 * Requests gain the envelope, results lose what is new; what a child wants to know is asked of the client; what the new
 * era has no request for is answered here. Lines for the child end with their line break. No I/O, no clock.
 */

import { skipSpace } from './json.js';
import { asLogLevel, type LogLevel } from './log-levels.js';
import { lineOf, type RawJson, rawAt, splice, textAt, valueAt } from './message.js';
import * as calls from './modern-child-calls.js';
import { type ChildSide, type ClientSide, readClient, readDiscovered } from './modern-child-greeting.js';
import * as listen from './modern-child-listening.js';
import {
  discoverRequest,
  type EnvelopeMembers,
  listenRequest,
  withEnvelope,
} from './modern-child-requests.js';
import {
  kindOf,
  legacyError,
  legacyResult,
  resultMembers,
  subscriptionOf,
  withoutSubscription,
} from './modern-child-results.js';
import { ERRORS, errorAnswer, META, type RpcError, rawAnswer, resultAnswer, withdrawal } from './protocol.js';
import { parseObject } from './raw-json.js';
import { isObjectAt, membersOf, type Span } from './scan.js';

export interface ModernChild {
  /** The id of the `initialize` that waits for the child's DiscoverResult. */
  readonly greeting: RawJson | undefined;
  readonly client: ClientSide | undefined;
  readonly child: ChildSide | undefined;
  readonly logLevel: LogLevel | undefined;
  readonly book: calls.CallBook;
  readonly listening: listen.Listening;
}

export interface ModernStep {
  readonly state: ModernChild;
  readonly toChild: readonly Buffer[];
  readonly toClient: readonly Buffer[];
  /** The client's id of the call that `toClient` is about. */
  readonly about?: RawJson;
}

export function newModernChild(maxHeldBytes: number): ModernChild {
  return {
    greeting: undefined,
    client: undefined,
    child: undefined,
    logLevel: undefined,
    book: calls.emptyBook(maxHeldBytes),
    listening: listen.SILENT,
  };
}

const TOP = ['id', 'method', 'params', 'result', 'error'] as const;
type Top = { readonly [N in (typeof TOP)[number]]?: Span };

const NOT_INITIALIZED: RpcError = { code: -32600, message: 'The session is not initialized' };
const UNKNOWN_RESULT: RpcError = { code: -32603, message: 'The MCP server gave a result of an unknown type' };
/** What this era's servers never had; a client of it that asks is told what they told. */
const NOT_LEGACY: ReadonlySet<string> = new Set(['server/discover', 'subscriptions/listen']);

const stay = (state: ModernChild): ModernStep => ({ state, toChild: [], toClient: [] });
const tell = (state: ModernChild, ...toClient: Buffer[]): ModernStep => ({ state, toChild: [], toClient });
const say = (state: ModernChild, ...toChild: Buffer[]): ModernStep => ({ state, toChild, toClient: [] });

/** A line of the client's session. */
export function fromClient(state: ModernChild, line: Buffer): ModernStep {
  const top = topOf(line);
  if (top === undefined) return stay(state);
  const id = top.id && rawAt(line, top.id);
  const method = top.method && textAt(line, top.method);
  if (method === undefined)
    return id === undefined ? stay(state) : called(state, calls.answer(state.book, id, line, top.result));
  return id === undefined ? notified(state, method, line) : requested(state, id, method, line, top);
}

/** A line of the child. */
export function fromChild(state: ModernChild, line: Buffer): ModernStep {
  const top = topOf(line);
  // What is no message is for whoever counts noise.
  if (top === undefined) return tell(state, line);
  const id = top.id && rawAt(line, top.id);
  const method = top.method && textAt(line, top.method);
  if (method === undefined) return id === undefined ? tell(state, line) : settled(state, id, line, top);
  // MCP 2026-07-28, basic/transports/stdio: a server sends no requests, and a client no responses.
  return id === undefined ? reported(state, method, line, top) : stay(state);
}

function requested(state: ModernChild, id: RawJson, method: string, line: Buffer, top: Top): ModernStep {
  if (method === 'ping') return tell(state, resultAnswer(id, {}));
  if (method === 'initialize') {
    const client = readClient(line);
    if (client === undefined) return tell(state, errorAnswer(id, ERRORS.invalidParams));
    return say({ ...state, client, greeting: id }, discoverRequest(id, client.envelope));
  }
  const { client, child } = state;
  if (client === undefined || child === undefined) return tell(state, errorAnswer(id, NOT_INITIALIZED));
  const subject = (name: string) => {
    const span = valueAt(line, ['params', name]);
    return span && textAt(line, span);
  };
  switch (method) {
    case 'logging/setLevel': {
      const logLevel = asLogLevel(subject('level'));
      if (!child.logging) return tell(state, errorAnswer(id, ERRORS.unknownMethod));
      if (logLevel === undefined) return tell(state, errorAnswer(id, ERRORS.invalidParams));
      return tell({ ...state, logLevel }, resultAnswer(id, {}));
    }
    case 'resources/subscribe':
    case 'resources/unsubscribe': {
      const uri = subject('uri');
      if (!child.subscribe) return tell(state, errorAnswer(id, ERRORS.unknownMethod));
      if (uri === undefined) return tell(state, errorAnswer(id, ERRORS.invalidParams));
      const change = method === 'resources/subscribe' ? listen.subscribe : listen.unsubscribe;
      return listened(state, change(state.listening, id, uri));
    }
    default:
      if (NOT_LEGACY.has(method)) return tell(state, errorAnswer(id, ERRORS.unknownMethod));
      return forward(state, client, id, method, line, top.params);
  }
}

function forward(
  state: ModernChild,
  client: ClientSide,
  id: RawJson,
  method: string,
  line: Buffer,
  params: Span | undefined,
): ModernStep {
  const enveloped = withEnvelope(line, params, membersFor(client, state.logLevel));
  return say({ ...state, book: calls.begin(state.book, id, method, enveloped) }, enveloped);
}

const membersFor = ({ envelope }: ClientSide, logLevel: LogLevel | undefined): EnvelopeMembers =>
  logLevel === undefined ? envelope : [...envelope, [META.logLevel, `"${logLevel}"`]];

function notified(state: ModernChild, method: string, line: Buffer): ModernStep {
  if (method === 'notifications/initialized')
    return listened(state, listen.listenTo(state.listening, state.child?.listChanged ?? []));
  // MCP 2026-07-28, basic/patterns/cancellation: all that a client still notifies of.
  const subject = method === 'notifications/cancelled' ? valueAt(line, ['params', 'requestId']) : undefined;
  if (subject === undefined) return stay(state);
  const id = rawAt(line, subject);
  const call = state.book.calls.get(id);
  if (call === undefined) {
    const isWaiting = state.listening.waiters.some((waiter) => waiter.id === id);
    return isWaiting ? listened(state, listen.giveUp(state.listening, id)) : say(state, line);
  }
  const step = called(state, calls.end(state.book, id));
  if (call.id === undefined) return step;
  return { ...step, toChild: [splice(line, [{ at: subject, raw: call.id }])] };
}

/** The child answers. */
function settled(state: ModernChild, childId: RawJson, line: Buffer, top: Top): ModernStep {
  if (childId === state.greeting) return greeted(state, childId, line, top);
  const { listening } = state;
  if (listening.opening?.id === childId || listening.current?.id === childId)
    return listened(state, listen.ended(listening, childId, errorOf(line, top)));
  const { book } = state;
  const id = book.retries.get(childId) ?? childId;
  const call = book.calls.get(id);
  // Of a call that is over, or of a round of it.
  if (call === undefined ? calls.isOurs(childId) : call.id !== childId) return stay(state);
  const next = call === undefined ? state : { ...state, book: calls.end(book, id).book };
  const rename = top.id === undefined || id === childId ? [] : [{ at: top.id, raw: id }];
  if (top.result === undefined)
    return tell(next, splice(line, [...rename, ...legacyError(line, call?.method)]));
  if (!isObjectAt(line, top.result.start)) return tell(next, splice(line, rename));
  const found = resultMembers(line, top.result);
  switch (kindOf(line, found)) {
    case 'complete':
      return tell(next, splice(line, [...rename, ...legacyResult(line, top.result, found, call?.method)]));
    case 'input_required':
      return {
        ...called(state, calls.inquire(book, id, line, found, state.client?.declared ?? new Set())),
        about: id,
      };
    case 'unknown':
      return tell(next, errorAnswer(id, UNKNOWN_RESULT));
  }
}

function greeted(state: ModernChild, id: RawJson, line: Buffer, top: Top): ModernStep {
  const next = { ...state, greeting: undefined };
  if (top.result === undefined || state.client === undefined) return tell(next, line);
  const discovered = readDiscovered(line, state.client.version);
  if ('code' in discovered) return tell(next, errorAnswer(id, discovered));
  return tell({ ...next, child: discovered.child }, rawAnswer(id, discovered.result));
}

/** The child notifies. */
function reported(state: ModernChild, method: string, line: Buffer, top: Top): ModernStep {
  const { listening } = state;
  if (method === 'notifications/cancelled') {
    const subject = valueAt(line, ['params', 'requestId']);
    return subject === undefined
      ? stay(state)
      : listened(state, listen.ended(listening, rawAt(line, subject)));
  }
  const id = subscriptionOf(line, top.params);
  if (method === 'notifications/subscriptions/acknowledged')
    return id === undefined
      ? stay(state)
      : listened(state, listen.acknowledged(listening, id, grantedBy(line)));
  if (id === undefined) return tell(state, line);
  return id === listening.current?.id ? tell(state, withoutSubscription(line, top.params)) : stay(state);
}

function listened(state: ModernChild, step: listen.ListeningStep): ModernStep {
  const { listening, open, cancel = [], answered = [] } = step;
  const envelope = state.client?.envelope ?? [];
  return {
    state: { ...state, listening },
    toChild: [
      ...(open === undefined ? [] : [listenRequest(open, envelope)]),
      ...cancel.map((id) => lineOf(withdrawal(id))),
    ],
    toClient: answered.map(({ id, error }) =>
      error === undefined ? resultAnswer(id, {}) : errorAnswer(id, error),
    ),
  };
}

const called = (state: ModernChild, { book, toChild, toClient }: calls.CallStep): ModernStep => ({
  state: { ...state, book },
  toChild,
  toClient,
});

function grantedBy(line: Buffer): ReadonlySet<string> {
  const span = valueAt(line, ['params', 'notifications']);
  const notifications = span && parseObject(line.subarray(span.start, span.end));
  const uris: unknown = notifications?.resourceSubscriptions;
  return new Set(Array.isArray(uris) ? uris.filter((uri) => typeof uri === 'string') : []);
}

function errorOf(line: Buffer, { error }: Top): RpcError | undefined {
  const given = error && parseObject(line.subarray(error.start, error.end));
  if (given === undefined) return undefined;
  const { code, message } = given;
  return typeof code === 'number' && typeof message === 'string' ? { code, message } : undefined;
}

function topOf(line: Buffer): Top | undefined {
  const at = skipSpace(line, 0);
  if (!isObjectAt(line, at)) return undefined;
  const scanned = membersOf(line, at, TOP);
  return typeof scanned === 'string' ? undefined : scanned.members;
}
