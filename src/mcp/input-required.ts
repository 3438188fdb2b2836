/**
 * What a legacy server asks of its client, inside the result of the call that is under way, and the client's answers,
 * inside the parameters of the same call made again (MCP 2026-07-28, basic/patterns/mrtr). Sealing the state, and keeping
 * the call, is for others.
 */
import { removals } from './edits.js';
import type { ModernRequest } from './envelope.js';
import { lineOf, type RawJson, type RequestMessage, rawAt, textAt } from './message.js';
import { because, ERRORS, META, type RpcError, rawAnswer } from './protocol.js';
import { objectOf, toRaw } from './raw-json.js';
import { entriesOf, isArrayAt, isObjectAt, membersOf, type Span } from './scan.js';

export interface Ask {
  /** Under which the client answers it. */
  readonly key: string;
  /** As the server asked. */
  readonly request: RequestMessage;
}

/** The answer to request `id` that asks for input. Parameters of what is asked are passed on as they came. */
export function inputRequired(
  id: RawJson,
  asks: readonly Ask[],
  requestState: string,
  server: { readonly serverInfo: RawJson | undefined },
): Buffer {
  const { serverInfo } = server;
  const requests = asks.map(({ key, request: { bytes, method, params } }) => {
    const asked = objectOf([
      ['method', toRaw(method)],
      ['params', params && rawAt(bytes, params)],
    ]);
    return `${toRaw(key)}:${asked}`;
  });
  const result = objectOf([
    ['resultType', '"input_required"'],
    ['inputRequests', requests.length === 0 ? undefined : `{${requests.join(',')}}`],
    ['requestState', toRaw(requestState)],
    ['_meta', serverInfo && objectOf([[META.serverInfo, serverInfo]])],
  ]);
  return rawAnswer(id, result);
}

/** What a call brings of an earlier one. */
export interface Input {
  /** Without it, the call is a new one, whatever else it brings. */
  readonly requestState: string | undefined;
  /** By key, whether we asked for it or not: an object each. */
  readonly responses: ReadonlyMap<string, Span>;
}

/** Its result depends on more than a cache would know it by (MCP 2026-07-28, server/utilities/caching: cache key). */
export function bringsInput({ params: { members } }: ModernRequest): boolean {
  return members.inputResponses !== undefined || members.requestState !== undefined;
}

const MAX_RESPONSES = 100;
const NO_RESPONSES: ReadonlyMap<string, Span> = new Map();

export function readInput({ message, params }: ModernRequest): Input | { readonly fault: RpcError } {
  const { bytes } = message;
  const { requestState, inputResponses } = params.members;
  const state = requestState && textAt(bytes, requestState);
  if (requestState !== undefined && state === undefined) return fault('requestState must be a string');
  if (inputResponses === undefined) return { requestState: state, responses: NO_RESPONSES };
  const responses = new Map<string, Span>();
  if (!isObjectAt(bytes, inputResponses.start)) return fault('inputResponses must be an object');
  const entries = entriesOf(bytes, inputResponses.start, MAX_RESPONSES);
  if (typeof entries === 'string') return fault(`inputResponses may have ${MAX_RESPONSES} members`);
  for (const { key, value } of entries) {
    const name = textAt(bytes, key);
    if (name === undefined || responses.has(name)) return fault('inputResponses has a key twice');
    if (!isObjectAt(bytes, value.start)) return fault('each of inputResponses must be an object');
    responses.set(name, value);
  }
  return { requestState: state, responses };
}

const fault = (why: string) => ({ fault: because(ERRORS.invalidParams, why) });

/** Whether the object at `span` is a result of what was asked; if not, it is asked for again. */
export function isResponseTo(method: string, bytes: Buffer, span: Span): boolean {
  const scanned = membersOf(bytes, span.start, ['action', 'role', 'content', 'model', 'roots']);
  if (typeof scanned === 'string') return false;
  const { action, role, content, model, roots } = scanned.members;
  switch (method) {
    case 'elicitation/create':
      return action !== undefined && ['accept', 'decline', 'cancel'].includes(textAt(bytes, action) ?? '');
    case 'sampling/createMessage':
      return role !== undefined && content !== undefined && model !== undefined;
    case 'roots/list':
      return roots !== undefined && isArrayAt(bytes, roots.start);
    default:
      return false;
  }
}

/** The line that answers the server: what the client sent is a result already. */
export function answerFor(askId: RawJson, bytes: Buffer, response: Span): Buffer {
  return lineOf(
    Buffer.concat([
      Buffer.from(`{"jsonrpc":"2.0","id":${askId},"result":`, 'latin1'),
      bytes.subarray(response.start, response.end),
      Buffer.from('}'),
    ]),
  );
}

/**
 * The parts of the parameters that are the same in a call and in its retry: all but the input, the state and `_meta`,
 * which has a progress token of its own each time. For a digest; the parts follow one another.
 */
export function parametersOf({ message, params }: ModernRequest): Buffer[] {
  const { bytes } = message;
  const { _meta: meta, inputResponses, requestState } = params.members;
  const parts: Buffer[] = [];
  let from = params.at.start;
  for (const { at } of removals(bytes, from, [meta, inputResponses, requestState])) {
    parts.push(bytes.subarray(from, at.start));
    from = at.end;
  }
  parts.push(bytes.subarray(from, params.at.end));
  return parts;
}
