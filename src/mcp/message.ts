/**
 * JSON-RPC messages as bytes with known places. A message is never re-serialised: what is not an id, a progress token or
 * a cancelled request id leaves exactly as it came, so large integers, `1.0`, unknown members and escapes survive.
 */
import { isUtf8 } from 'node:buffer';
import { isJson, MAX_DEPTH, skipSpace } from './json.js';
import { META } from './protocol.js';
import {
  elementsOf,
  isArrayAt,
  isObjectAt,
  isStringAt,
  isTextAt,
  placesOf,
  type ScanFault,
  type ScannedPlaces,
  type Shape,
  type Span,
  textAt,
} from './scan.js';

export { textAt };

/** The bytes of a JSON value, one character a byte (latin1). Ids compare by it: `1` and `"1"` differ. */
export type RawJson = string;

export interface RequestMessage {
  readonly kind: 'request';
  readonly bytes: Buffer;
  readonly method: string;
  readonly id: Span;
  readonly params: Span | undefined;
  /** `params._meta.progressToken`. */
  readonly token: Span | undefined;
  /** The version in `params._meta` by which a request of the modern era is known, whatever its value is. */
  readonly version: Span | undefined;
  readonly places: RequestPlaces;
  /** What has to be changed in it for a child of the other era, when it goes to one. */
  readonly edits?: readonly Edit[];
}

/** Where stands what a broker looks at, in the order of `PARAMS` and `OWN_META`; undefined for what is no object. */
export interface RequestPlaces {
  readonly params: ScannedPlaces | undefined;
  readonly meta: ScannedPlaces | undefined;
}

export interface NotificationMessage {
  readonly kind: 'notification';
  readonly bytes: Buffer;
  readonly method: string;
  /** What progress (`progressToken`) or cancellation (`requestId`) is about. */
  readonly subject: Span | undefined;
}

export interface ResponseMessage {
  readonly kind: 'response';
  readonly bytes: Buffer;
  readonly id: Span;
  /** The result, or undefined when it is an error. */
  readonly result: Span | undefined;
}

export type Message = RequestMessage | NotificationMessage | ResponseMessage;

export interface Invalid {
  readonly kind: 'invalid';
  /** Its id, where one could be read, so that the refusal finds its way. */
  readonly id: RawJson | undefined;
  readonly why: string;
}

const LF = 0x0a;
const CR = 0x0d;
export const PARAMS = [
  '_meta',
  'name',
  'uri',
  'taskId',
  'arguments',
  'inputResponses',
  'requestState',
  'notifications',
] as const;
export const OWN_META = [
  'progressToken',
  META.version,
  META.clientInfo,
  META.capabilities,
  META.logLevel,
] as const;
const MESSAGE: Shape = {
  names: ['jsonrpc', 'id', 'method', 'params', 'result', 'error'],
  inner: { under: 'params', shape: { names: PARAMS, inner: { under: '_meta', shape: { names: OWN_META } } } },
};
/** What must not occur twice in any request: `_meta`, and in it what tells to whom and to which era it belongs. */
const UNIQUE = { params: 0b1, meta: 0b11 };
const SUBJECTS: ReadonlyMap<string, 'progressToken' | 'requestId'> = new Map([
  ['notifications/progress', 'progressToken'],
  ['notifications/cancelled', 'requestId'],
]);

/** Of what may be from anybody: whether it is JSON at all is found out on the way. */
export function readCheckedMessage(bytes: Buffer): Message | Invalid | 'not JSON' {
  if (!isUtf8(bytes)) return 'not JSON';
  const message = readMessage(bytes, MAX_DEPTH);
  return message.kind === 'invalid' && !isJson(bytes) ? 'not JSON' : message;
}

/** With `maxDepth` all of it is checked: what is not invalid is JSON, if the bytes are UTF-8. */
export function readMessage(bytes: Buffer, maxDepth?: number): Message | Invalid {
  const at = skipSpace(bytes, 0);
  if (!isObjectAt(bytes, at)) return invalid('a message is a JSON object');
  const scanned = placesOf(bytes, at, MESSAGE, maxDepth);
  if (scanned === 'malformed') return invalid(FAULTS.malformed);
  if (scanned.repeated !== 0) return invalid(FAULTS.duplicate);
  const [version, id, named, params, result, error] = scanned.places;
  if (skipSpace(bytes, scanned.end) !== bytes.length) return invalid(FAULTS.malformed);
  const hasId = id !== undefined && isId(bytes, id);
  const refuse = (why: string) => invalid(why, hasId ? rawAt(bytes, id) : undefined);
  if (version === undefined || !isTextAt(bytes, version, '2.0')) return refuse('"jsonrpc" must be "2.0"');
  if (named === undefined) {
    if (id === undefined || (result ?? error) === undefined) {
      return refuse('neither a request, nor a notification, nor a response');
    }
    return { kind: 'response', bytes, id, result };
  }
  const method = textAt(bytes, named);
  if (method === undefined) return refuse('"method" must be a string');
  if (id === undefined) {
    const name = SUBJECTS.get(method);
    const subject = name === undefined ? undefined : spanAt(bytes, params, [name]);
    if (typeof subject === 'string') return invalid(FAULTS[subject]);
    return { kind: 'notification', bytes, method, subject };
  }
  if (!hasId) return invalid(`"id" must be a string or a number of at most ${MAX_ID_BYTES} bytes`);
  const places = { params: scanned.inner, meta: scanned.inner?.inner };
  const isRepeated =
    ((places.params?.repeated ?? 0) & UNIQUE.params) !== 0 ||
    ((places.meta?.repeated ?? 0) & UNIQUE.meta) !== 0;
  if (isRepeated) return refuse(FAULTS.duplicate);
  const [token, modernVersion] = places.meta?.places ?? [];
  return {
    kind: 'request',
    bytes,
    method,
    id,
    params,
    token: token && isId(bytes, token) ? token : undefined,
    version: modernVersion,
    places,
  };
}

/** The messages of a batch (MCP 2025-03-26 only), or undefined when the body is no array. */
export function readBatch(
  bytes: Buffer,
  limit: number,
): (Message | Invalid)[] | Invalid | 'not JSON' | undefined {
  const at = skipSpace(bytes, 0);
  if (!isArrayAt(bytes, at)) return undefined;
  if (!isJson(bytes)) return 'not JSON';
  const spans = elementsOf(bytes, at, limit);
  if (spans === 'too many') return invalid(`a batch holds at most ${limit} messages`);
  if (spans === 'malformed') return invalid(FAULTS.malformed);
  return spans.map(({ start, end }) => readMessage(bytes.subarray(start, end)));
}

export function rawAt(bytes: Buffer, span: Span): RawJson {
  return bytes.toString('latin1', span.start, span.end);
}

/** `bytes` with the value at each span replaced. */
export function splice(bytes: Buffer, edits: readonly Edit[], ending: '' | '\n' = ''): Buffer {
  const inOrder = isInOrder(edits) ? edits : edits.toSorted((a, b) => a.at.start - b.at.start);
  let length = bytes.length + ending.length;
  for (const { at, raw } of inOrder) length += raw.length - (at.end - at.start);
  const spliced = Buffer.allocUnsafe(length);
  let read = 0;
  let written = 0;
  for (const { at, raw } of inOrder) {
    written = copy(bytes, read, at.start, spliced, written);
    written = put(raw, spliced, written);
    read = at.end;
  }
  put(ending, spliced, copy(bytes, read, bytes.length, spliced, written));
  return spliced;
}

/**
 * The same for one value of a message that nobody reads any more: in a long one, where the new value fits, the shorter side
 * moves up to it, and the rest stays where it is. A copy of some MiB costs more than all else that is done to it.
 */
export function spliceInPlace(bytes: Buffer, { at, raw }: Edit): Buffer {
  const spare = at.end - at.start - raw.length;
  if (spare < 0 || bytes.length < LONG) return splice(bytes, [{ at, raw }]);
  if (at.start < bytes.length - at.end) {
    bytes.copyWithin(spare, 0, at.start);
    put(raw, bytes, at.start + spare);
    return bytes.subarray(spare);
  }
  put(raw, bytes, at.start);
  bytes.copyWithin(at.end - spare, at.end);
  return bytes.subarray(0, bytes.length - spare);
}

/** Shorter ones are copied: for them no gain was measured that was more than the noise. */
const LONG = 1024 * 1024;

function isInOrder(edits: readonly Edit[]): boolean {
  let last = 0;
  for (const { at } of edits) {
    if (at.start < last) return false;
    last = at.start;
  }
  return true;
}

/** Below this, a loop beats the way to native code and back, twice over. */
const SHORT = 96;

/** Returns where it ends in `to`. */
function copy(from: Buffer, start: number, end: number, to: Buffer, at: number): number {
  if (end - start > SHORT) return at + from.copy(to, at, start, end);
  for (let i = start, j = at; i < end; i += 1, j += 1) to[j] = from[i] ?? 0;
  return at + end - start;
}

function put(raw: RawJson, to: Buffer, at: number): number {
  if (raw.length > SHORT) return at + to.write(raw, at, 'latin1');
  for (let i = 0; i < raw.length; i += 1) to[at + i] = raw.charCodeAt(i);
  return at + raw.length;
}

export interface Edit {
  readonly at: Span;
  readonly raw: RawJson;
}

/** The line a stdio server reads: one line, whatever white space stood between the tokens. */
export function lineOf(bytes: Buffer, edits: readonly Edit[] = []): Buffer {
  const line = splice(bytes, edits, '\n');
  blankBreaks(line);
  line[line.length - 1] = LF;
  return line;
}

/** Overwrites line breaks, which can only be white space in valid JSON. A lone CR ends a line too (Python, SSE). */
export function blankBreaks(bytes: Buffer): void {
  for (let i = bytes.indexOf(LF); i !== -1; i = bytes.indexOf(LF, i + 1)) bytes[i] = 0x20;
  for (let i = bytes.indexOf(CR); i !== -1; i = bytes.indexOf(CR, i + 1)) bytes[i] = 0x20;
}

const FAULTS: Readonly<Record<ScanFault, string>> = {
  malformed: 'not well-formed',
  duplicate: 'a member that must be unique occurs twice',
};

function invalid(why: string, id?: RawJson): Invalid {
  return { kind: 'invalid', id, why };
}

/** Ids and progress tokens are kept while a call lasts. */
const MAX_ID_BYTES = 1024;

/** JSON-RPC 2.0 allows null; MCP does not, and a null id cannot be answered. */
function isId(bytes: Buffer, span: Span): boolean {
  if (span.end - span.start > MAX_ID_BYTES) return false;
  const first = bytes[span.start] ?? 0;
  return isStringAt(bytes, span.start) || first === 0x2d || (first >= 0x30 && first <= 0x39);
}

/** The string or number found by walking `path` down from `from`; anything else there is not ours to touch. */
function spanAt(
  bytes: Buffer,
  from: Span | undefined,
  path: readonly string[],
): Span | ScanFault | undefined {
  const span = memberAt(bytes, from, path);
  return typeof span === 'object' && !isId(bytes, span) ? undefined : span;
}

function memberAt(
  bytes: Buffer,
  from: Span | undefined,
  path: readonly string[],
): Span | ScanFault | undefined {
  let span = from;
  for (const name of path) {
    if (span === undefined || !isObjectAt(bytes, span.start)) return undefined;
    const scanned = placesOf(bytes, span.start, { names: [name] });
    if (scanned === 'malformed') return scanned;
    if (scanned.repeated !== 0) return 'duplicate';
    [span] = scanned.places;
  }
  return span;
}

/** The value at `path` of a message, or undefined if there is none. */
export function valueAt(bytes: Buffer, path: readonly string[]): Span | undefined {
  const span = memberAt(bytes, { start: skipSpace(bytes, 0), end: bytes.length }, path);
  return typeof span === 'object' ? span : undefined;
}
