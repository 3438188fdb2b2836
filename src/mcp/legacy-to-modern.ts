/**
 * What a legacy server says, as a modern client is told it: by edits of the answer, so that whatever the server put into
 * it stays. What is no object, or has a member twice that we would have to set, passes as it came.
 */
import { neutralServer } from './capabilities.js';
import { insertion } from './edits.js';
import {
  type Edit,
  type NotificationMessage,
  type RawJson,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
  readMessage,
  splice,
  valueAt,
} from './message.js';
import { MODERN_METHODS } from './methods.js';
import { ERRORS, META, MODERN_VERSIONS } from './protocol.js';
import { objectOf, objectsIn, toRaw } from './raw-json.js';
import {
  elementsOf,
  isArrayAt,
  isObjectAt,
  isStringAt,
  type MemberSpan,
  membersOf,
  placesOf,
  type Shape,
} from './scan.js';

/** What a modern result says that no legacy server says of itself. */
export interface ServerSide {
  /** An object. */
  readonly serverInfo: RawJson | undefined;
  /** How long a cacheable result may be kept: an integer, not negative. */
  readonly ttlMs: number;
}

/** Codes of earlier versions that must not be sent any more, and what is (MCP 2026-07-28, basic/index: error codes). */
const REPLACED: ReadonlyMap<RawJson, number> = new Map([
  // Resource not found.
  ['-32002', ERRORS.invalidParams.code],
  // URL elicitation required: where `elicitationsIn` was of no use.
  ['-32042', ERRORS.internal.code],
]);

export function toModernAnswer(method: string, answer: Buffer, server: ServerSide): Buffer {
  const message = readMessage(answer);
  return message.kind === 'response' ? splice(answer, toModernEdits(method, message, server)) : answer;
}

/** For one who has other edits to make in the same answer. */
export function toModernEdits(method: string, message: ResponseMessage, server: ServerSide): Edit[] {
  const { bytes, result } = message;
  if (result === undefined) return errorEdits(bytes);
  if (!isObjectAt(bytes, result.start)) return [];
  const scanned = placesOf(bytes, result.start, RESULT);
  if (scanned === 'malformed' || scanned.repeated !== 0) return [];
  const [meta, resultType, ttlMs, cacheScope] = scanned.places;
  const edits: Edit[] = [];
  let added = '';
  const set = (name: string, member: MemberSpan | undefined, raw: RawJson) => {
    if (member === undefined) added += `${added === '' ? '' : ','}"${name}":${raw}`;
    else edits.push({ at: member, raw });
  };
  set('resultType', resultType, '"complete"');
  if (MODERN_METHODS.get(method)?.cacheable) {
    set('ttlMs', ttlMs, `${server.ttlMs}`);
    set('cacheScope', cacheScope, '"private"');
  }
  if (server.serverInfo !== undefined) {
    const serverInfo = `"${META.serverInfo}":${server.serverInfo}`;
    if (meta === undefined) set('_meta', meta, `{${serverInfo}}`);
    else if (lacks(bytes, meta, META.serverInfo)) edits.push(insertion(bytes, meta.start, serverInfo));
  }
  if (added !== '') edits.push(insertion(bytes, result.start, added));
  return edits;
}

const RESULT: Shape = { names: ['_meta', 'resultType', 'ttlMs', 'cacheScope'] };

const lacks = (bytes: Buffer, meta: MemberSpan, name: string): boolean => {
  if (!isObjectAt(bytes, meta.start)) return false;
  const scanned = membersOf(bytes, meta.start, [name]);
  return typeof scanned === 'object' && scanned.members[name] === undefined;
};

function errorEdits(bytes: Buffer): Edit[] {
  const code = valueAt(bytes, ['error', 'code']);
  const replaced = code && REPLACED.get(rawAt(bytes, code));
  return code === undefined || replaced === undefined ? [] : [{ at: code, raw: `${replaced}` }];
}

/**
 * The visits that a legacy server wants its client to have made before it makes the same call again (MCP 2025-11-25,
 * client/elicitation: URLElicitationRequiredError), as the requests by which a modern client is asked for them.
 */
export function elicitationsIn({ bytes, result }: ResponseMessage): RequestMessage[] {
  const code = result === undefined ? valueAt(bytes, ['error', 'code']) : undefined;
  if (code === undefined || rawAt(bytes, code) !== '-32042') return [];
  const list = valueAt(bytes, ['error', 'data', 'elicitations']);
  const elements =
    list && isArrayAt(bytes, list.start) ? elementsOf(bytes, list.start, MAX_ELICITATIONS) : [];
  if (typeof elements === 'string') return [];
  const head = Buffer.from('{"jsonrpc":"2.0","id":0,"method":"elicitation/create","params":');
  return elements
    .filter(({ start }) => isObjectAt(bytes, start))
    .map(({ start, end }) => readMessage(Buffer.concat([head, bytes.subarray(start, end), Buffer.from('}')])))
    .filter((message) => message.kind === 'request');
}

const MAX_ELICITATIONS = 100;

/** Of an error that is plain JSON (MCP 2026-07-28, streamable-http: protocol version header; basic/index: `_meta`). */
export function statusOf(error: Buffer): 200 | 400 | 404 {
  const code = valueAt(error, ['error', 'code']);
  return (code && STATUS.get(Number(rawAt(error, code)))) ?? 200;
}

const STATUS: ReadonlyMap<number, 400 | 404> = new Map([
  [ERRORS.unknownMethod.code, 404],
  [ERRORS.headerMismatch.code, 400],
  [ERRORS.missingCapability.code, 400],
  [ERRORS.unsupportedVersion.code, 400],
]);

/** Who the server is, and what it can do, from its answer to `initialize`. */
export interface Greeting {
  readonly serverInfo: RawJson | undefined;
  /** As a modern server would declare them. */
  readonly capabilities: RawJson;
  /** A string. */
  readonly instructions: RawJson | undefined;
}

/** Undefined when the server refused. */
export function readGreeting(initializeAnswer: Buffer): Greeting | undefined {
  const result = valueAt(initializeAnswer, ['result']);
  if (result === undefined || !isObjectAt(initializeAnswer, result.start)) return undefined;
  const { serverInfo, capabilities = '{}' } = objectsIn(rawAt(initializeAnswer, result), [
    'serverInfo',
    'capabilities',
  ]);
  const instructions = valueAt(initializeAnswer, ['result', 'instructions']);
  return {
    serverInfo,
    capabilities: neutralServer(capabilities),
    instructions:
      instructions && isStringAt(initializeAnswer, instructions.start)
        ? rawAt(initializeAnswer, instructions)
        : undefined,
  };
}

/** The result of `server/discover`, the same for every client (MCP 2026-07-28, server/discover: DiscoverResult). */
export function discoverResult(greeting: Greeting, ttlMs: number): RawJson {
  const { serverInfo, capabilities, instructions } = greeting;
  return objectOf([
    ['resultType', '"complete"'],
    ['supportedVersions', toRaw(MODERN_VERSIONS)],
    ['capabilities', capabilities],
    ['instructions', instructions],
    ['ttlMs', `${ttlMs}`],
    ['cacheScope', '"private"'],
    ['_meta', serverInfo && objectOf([[META.serverInfo, serverInfo]])],
  ]);
}

/**
 * Where a notification of a legacy server may go. On the stream of a request: what is about that request. On a
 * subscription: what it asked for. What the era does not know, or has removed, goes nowhere.
 */
export type Destination = 'request' | 'subscription' | 'nowhere';

export function destinationOf({ method }: NotificationMessage): Destination {
  return DESTINATIONS.get(method) ?? 'nowhere';
}

const DESTINATIONS: ReadonlyMap<string, Destination> = new Map([
  ['notifications/progress', 'request'],
  ['notifications/message', 'request'],
  ['notifications/tools/list_changed', 'subscription'],
  ['notifications/prompts/list_changed', 'subscription'],
  ['notifications/resources/list_changed', 'subscription'],
  ['notifications/resources/updated', 'subscription'],
]);
