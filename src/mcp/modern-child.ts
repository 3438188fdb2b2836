/**
 * A modern child (MCP 2026-07-28) as a legacy client's session knows servers: state and a line in, state and lines out.
 * Requests gain the envelope, results lose what is new; what a child wants to know is asked of the client; what the new
 * era has no request for is answered here. Lines for the child end with their line break. No I/O, no clock.
 */
import { lineOf, type RawJson, rawAt, splice, textAt, valueAt } from './message.js';
import { type Envelope, META, rawOf } from './meta.js';
import {
  type ChildSide,
  type ClientSide,
  parse,
  readClient,
  readDiscovered,
} from './modern-child-greeting.js';
import * as listen from './modern-child-listening.js';
import { discoverRequest, listenRequest, withEnvelope } from './modern-child-requests.js';
import {
  kindOf,
  legacyError,
  legacyResult,
  type ResultMembers,
  resultMembers,
  subscriptionOf,
  withoutSubscription,
} from './modern-child-results.js';
import {
  type Answers,
  type Input,
  MAX_ROUNDS,
  MULTI_ROUND,
  NOT_KEPT,
  readRound,
  requestOf,
  responseOf,
  retryEdits,
  TOO_MANY_ROUNDS,
  unanswered,
} from './modern-child-rounds.js';
import { ERRORS, errorAnswer, notification, type RpcError, resultAnswer } from './protocol.js';
import { isObjectAt, membersOf, type Span, skipSpace } from './scan.js';

export interface ModernChild {
  /** The id of the `initialize` that waits for the child's DiscoverResult. */
  readonly greeting: RawJson | undefined;
  readonly client: ClientSide | undefined;
  readonly child: ChildSide | undefined;
  readonly logLevel: string | undefined;
  /** Calls whose answers need more than a look, by the client's id. */
  readonly calls: ReadonlyMap<RawJson, Call>;
  /** Retries: the id the child knows -> the client's. */
  readonly retries: ReadonlyMap<RawJson, RawJson>;
  /** Questions that the client has not answered: their id -> the client's id of the call. */
  readonly asks: ReadonlyMap<RawJson, RawJson>;
  readonly listening: listen.Listening;
  /** Bytes of calls and answers that are kept for retries. */
  readonly held: number;
  readonly maxHeld: number;
  readonly lastId: number;
}

interface Call {
  readonly method: string;
  /** As the child got it first; kept for a retry, if there is room. */
  readonly line: Buffer | undefined;
  /** The id the child knows now; undefined while the client is asked. */
  readonly id: RawJson | undefined;
  readonly rounds: number;
  readonly asked: ReadonlyMap<RawJson, Input>;
  readonly answers: Answers;
  readonly requestState: RawJson | undefined;
  readonly held: number;
}

export interface ModernStep {
  readonly state: ModernChild;
  readonly toChild: readonly Buffer[];
  readonly toClient: readonly Buffer[];
}

export function newModernChild(maxHeldBytes: number): ModernChild {
  return {
    greeting: undefined,
    client: undefined,
    child: undefined,
    logLevel: undefined,
    calls: new Map(),
    retries: new Map(),
    asks: new Map(),
    listening: listen.SILENT,
    held: 0,
    maxHeld: maxHeldBytes,
    lastId: 0,
  };
}

const TOP = ['id', 'method', 'params', 'result', 'error'] as const;
type Top = { readonly [N in (typeof TOP)[number]]?: Span };

const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];
const NOT_INITIALIZED: RpcError = { code: -32600, message: 'The session is not initialized' };
const INVALID_PARAMS: RpcError = { code: -32602, message: 'Invalid params' };
const UNKNOWN_RESULT: RpcError = { code: -32603, message: 'The MCP server gave a result of an unknown type' };
/** Answers that are looked at. */
const WATCHED: ReadonlySet<string> = new Set([...MULTI_ROUND, 'tools/list']);
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
  if (method === undefined) return id === undefined ? stay(state) : answered(state, id, line, top.result);
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
    if (client === undefined) return tell(state, errorAnswer(id, INVALID_PARAMS));
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
      const logLevel = subject('level');
      if (!child.logging) return tell(state, errorAnswer(id, ERRORS.unknownMethod));
      if (!LEVELS.some((level) => level === logLevel)) return tell(state, errorAnswer(id, INVALID_PARAMS));
      return tell({ ...state, logLevel }, resultAnswer(id, {}));
    }
    case 'resources/subscribe':
    case 'resources/unsubscribe': {
      const uri = subject('uri');
      if (!child.subscribe) return tell(state, errorAnswer(id, ERRORS.unknownMethod));
      if (uri === undefined) return tell(state, errorAnswer(id, INVALID_PARAMS));
      const change = method === 'resources/subscribe' ? listen.subscribe : listen.unsubscribe;
      return listened(state, change(state.listening, id, uri));
    }
    default:
      if (NOT_LEGACY.has(method)) return tell(state, errorAnswer(id, ERRORS.unknownMethod));
      return forward(state, client, id, method, line, top);
  }
}

function forward(
  state: ModernChild,
  client: ClientSide,
  id: RawJson,
  method: string,
  line: Buffer,
  top: Top,
): ModernStep {
  const enveloped = withEnvelope(line, top.params, envelopeOf(client, state.logLevel));
  if (!WATCHED.has(method)) return say(state, enveloped);
  const isKept = MULTI_ROUND.has(method) && state.held <= state.maxHeld;
  const call: Call = {
    method,
    line: isKept ? enveloped : undefined,
    id,
    rounds: 0,
    asked: new Map(),
    answers: new Map(),
    requestState: undefined,
    held: isKept ? enveloped.length : 0,
  };
  return say(withCall(state, id, call), enveloped);
}

const envelopeOf = ({ envelope }: ClientSide, logLevel: string | undefined): Envelope =>
  logLevel === undefined ? envelope : [...envelope, [META.logLevel, rawOf(logLevel)]];

function notified(state: ModernChild, method: string, line: Buffer): ModernStep {
  if (method === 'notifications/initialized')
    return listened(state, listen.listenTo(state.listening, state.child?.listChanged ?? []));
  // MCP 2026-07-28, basic/patterns/cancellation: all that a client still notifies of.
  const subject = method === 'notifications/cancelled' ? valueAt(line, ['params', 'requestId']) : undefined;
  if (subject === undefined) return stay(state);
  const id = rawAt(line, subject);
  const call = state.calls.get(id);
  if (call === undefined) {
    const isWaiting = state.listening.waiters.some((waiter) => waiter.id === id);
    return isWaiting ? listened(state, listen.giveUp(state.listening, id)) : say(state, line);
  }
  const step = endCall(state, id, call);
  if (call.id === undefined) return step;
  return { ...step, toChild: [splice(line, [{ at: subject, raw: call.id }])] };
}

/** The client answers a question. */
function answered(state: ModernChild, ask: RawJson, line: Buffer, result: Span | undefined): ModernStep {
  const id = state.asks.get(ask);
  const call = id === undefined ? undefined : state.calls.get(id);
  const input = call?.asked.get(ask);
  if (id === undefined || call === undefined || input === undefined) return stay(state);
  const raw = responseOf(input, line, result);
  if (raw === undefined) return fail(state, id, call, unanswered(input, line));
  if (state.held + raw.length > state.maxHeld * 2) return fail(state, id, call, NOT_KEPT);
  const asked = new Map(call.asked);
  asked.delete(ask);
  const answers = new Map(call.answers).set(input.key, raw);
  const held = call.held + raw.length;
  const next = withCall({ ...state, asks: without(state.asks, [ask]) }, id, {
    ...call,
    asked,
    answers,
    held,
  });
  return asked.size > 0 ? stay(next) : retry(next, id);
}

function retry(state: ModernChild, id: RawJson): ModernStep {
  const call = state.calls.get(id);
  if (call?.line === undefined) return stay(state);
  const lastId = state.lastId + 1;
  const retryId = `"fjmcp-${lastId}"`;
  const line = splice(call.line, retryEdits(call.line, retryId, call.requestState, call.answers));
  const next = { ...call, id: retryId, answers: new Map(), requestState: undefined, held: call.line.length };
  const retries = new Map(state.retries).set(retryId, id);
  return say(withCall({ ...state, retries, lastId }, id, next), line);
}

/** The child answers. */
function settled(state: ModernChild, childId: RawJson, line: Buffer, top: Top): ModernStep {
  if (childId === state.greeting) return greeted(state, childId, line, top);
  const { listening } = state;
  if (listening.opening?.id === childId || listening.current?.id === childId)
    return listened(state, listen.ended(listening, childId, errorOf(line, top)));
  const id = state.retries.get(childId) ?? childId;
  const call = state.calls.get(id);
  if (isOurs(childId) && call === undefined) return stay(state);
  if (call !== undefined && call.id !== childId) return stay(state);
  const next = call === undefined ? state : endCall(state, id, call).state;
  const rename = top.id === undefined || id === childId ? [] : [{ at: top.id, raw: id }];
  if (top.result === undefined)
    return tell(next, splice(line, [...rename, ...legacyError(line, call?.method)]));
  if (!isObjectAt(line, top.result.start)) return tell(next, splice(line, rename));
  const found = resultMembers(line, top.result);
  switch (kindOf(line, found)) {
    case 'complete':
      return tell(next, splice(line, [...rename, ...legacyResult(line, found, call?.method)]));
    case 'input_required':
      return ask(state, id, call, line, found);
    case 'unknown':
      return tell(next, errorAnswer(id, UNKNOWN_RESULT));
  }
}

function greeted(state: ModernChild, id: RawJson, line: Buffer, top: Top): ModernStep {
  const next = { ...state, greeting: undefined };
  if (top.result === undefined || state.client === undefined) return tell(next, line);
  const discovered = readDiscovered(line, state.client.version);
  if ('code' in discovered) return tell(next, errorAnswer(id, discovered));
  return tell({ ...next, child: discovered.child }, resultAnswer(id, discovered.result));
}

/** The child wants to know something before it goes on with a call. */
function ask(
  state: ModernChild,
  id: RawJson,
  call: Call | undefined,
  line: Buffer,
  found: ResultMembers,
): ModernStep {
  // MCP 2026-07-28, basic/patterns/mrtr: on other requests a server must not.
  if (call === undefined) return tell(state, errorAnswer(id, NOT_KEPT));
  if (call.line === undefined) return fail(state, id, call, NOT_KEPT);
  if (call.rounds >= MAX_ROUNDS) return fail(state, id, call, TOO_MANY_ROUNDS);
  const round = readRound(line, found, state.client?.asked ?? new Set());
  if ('code' in round) return fail(state, id, call, round);
  const asked = new Map(round.inputs.map((input, at) => [`"fjmcp-${state.lastId + 1 + at}"`, input]));
  const { requestState } = round;
  const held = call.held + (requestState?.length ?? 0);
  const retries = call.id === undefined ? state.retries : without(state.retries, [call.id]);
  const next = withCall(
    {
      ...state,
      retries,
      asks: new Map([...state.asks, ...[...asked.keys()].map((ask) => [ask, id] as const)]),
      lastId: state.lastId + asked.size,
    },
    id,
    { ...call, id: undefined, rounds: call.rounds + 1, asked, answers: new Map(), requestState, held },
  );
  if (asked.size === 0) return retry(next, id);
  return tell(next, ...[...asked].map(([askId, input]) => requestOf(input, askId)));
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
      ...cancel.map((id) => lineOf(cancelled(id))),
    ],
    toClient: answered.map(({ id, error }) =>
      error === undefined ? resultAnswer(id, {}) : errorAnswer(id, error),
    ),
  };
}

/** The call ends with an error of ours; what was asked for it is taken back. */
function fail(state: ModernChild, id: RawJson, call: Call, error: RpcError): ModernStep {
  const step = endCall(state, id, call);
  return { ...step, toClient: [...step.toClient, errorAnswer(id, error)] };
}

function endCall(state: ModernChild, id: RawJson, call: Call): ModernStep {
  const asks = [...call.asked.keys()];
  const next = {
    ...state,
    calls: without(state.calls, [id]),
    retries: call.id === undefined ? state.retries : without(state.retries, [call.id]),
    asks: without(state.asks, asks),
    held: state.held - call.held,
  };
  return tell(next, ...asks.map(cancelled));
}

function withCall(state: ModernChild, id: RawJson, call: Call): ModernChild {
  const before = state.calls.get(id)?.held ?? 0;
  return { ...state, calls: new Map(state.calls).set(id, call), held: state.held - before + call.held };
}

function grantedBy(line: Buffer): ReadonlySet<string> {
  const span = valueAt(line, ['params', 'notifications']);
  const notifications = span && parse(line.subarray(span.start, span.end));
  const uris: unknown = notifications?.resourceSubscriptions;
  return new Set(Array.isArray(uris) ? uris.filter((uri) => typeof uri === 'string') : []);
}

/** Ids of ours are strings. */
const cancelled = (id: RawJson): Buffer =>
  notification('notifications/cancelled', { requestId: id.slice(1, -1) });

const isOurs = (id: RawJson): boolean => id.startsWith('"fjmcp-');

function errorOf(line: Buffer, { error }: Top): RpcError | undefined {
  const given = error && parse(line.subarray(error.start, error.end));
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

function without<V>(map: ReadonlyMap<RawJson, V>, ids: readonly RawJson[]): ReadonlyMap<RawJson, V> {
  if (!ids.some((id) => map.has(id))) return map;
  const rest = new Map(map);
  for (const id of ids) rest.delete(id);
  return rest;
}
