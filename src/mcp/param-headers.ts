/**
 * Tool parameters that are repeated in headers (MCP 2026-07-28, streamable-http: custom headers from tool parameters):
 * which ones, from a list of tools, and whether a call says the same twice.
 */
import type { Header, ModernRequest } from './envelope.js';
import { decodeHeader } from './header-values.js';
import { type RawJson, rawAt, textAt, valueAt } from './message.js';
import { because, ERRORS, type RpcError } from './protocol.js';
import { isObject } from './raw-json.js';
import { elementsOf, entriesOf, isArrayAt, isObjectAt, isStringAt, membersOf, type Span } from './scan.js';

export interface ParamHeader {
  /** The names that lead to the argument. */
  readonly path: readonly string[];
  /** The whole name of the header, in lower case. */
  readonly header: string;
}

export interface ToolHeaders {
  /** Tool -> the headers of its calls; for tools that have any. */
  readonly headers: ReadonlyMap<string, readonly ParamHeader[]>;
  /** Tool -> what is wrong with its annotations. Clients leave such a tool out, so no header of it means anything. */
  readonly malformed: ReadonlyMap<string, string>;
}

const ANNOTATION = 'x-mcp-header';
const MAX_TOOLS = 10_000;
const MAX_SCHEMA_BYTES = 1024 * 1024;
const MAX_SCHEMA_DEPTH = 100;
const MAX_ARGUMENTS = 10_000;
/** Of one tool: what more of them say fits into no request. */
const MAX_HEADERS = 64;
/** RFC 9110, 5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Examples of values: what is in them is no schema. */
const DATA = new Set(['default', 'const', 'enum', 'examples']);

/** From the answer to a `tools/list`: one page. */
export function readToolHeaders(answer: Buffer): ToolHeaders {
  const headers = new Map<string, readonly ParamHeader[]>();
  const malformed = new Map<string, string>();
  const list = mayAnnotate(answer) ? valueAt(answer, ['result', 'tools']) : undefined;
  const tools = list && isArrayAt(answer, list.start) ? elementsOf(answer, list.start, MAX_TOOLS) : [];
  for (const tool of typeof tools === 'string' ? [] : tools) {
    const scanned = isObjectAt(answer, tool.start)
      ? membersOf(answer, tool.start, ['name', 'inputSchema'])
      : 'malformed';
    if (typeof scanned === 'string') continue;
    const { name: nameAt, inputSchema } = scanned.members;
    const name = nameAt && textAt(answer, nameAt);
    if (name === undefined || inputSchema === undefined) continue;
    const found = readSchema(answer.subarray(inputSchema.start, inputSchema.end));
    if (typeof found === 'string') malformed.set(name, found);
    else if (found.length > 0) headers.set(name, found);
  }
  return { headers, malformed };
}

/** Nearly no list has any. A name may be spelled with escapes. */
const mayAnnotate = (bytes: Buffer): boolean => bytes.includes(ANNOTATION) || bytes.includes('\\u');

function readSchema(bytes: Buffer): readonly ParamHeader[] | string {
  if (!mayAnnotate(bytes)) return [];
  if (bytes.length > MAX_SCHEMA_BYTES) return 'its schema is too large to be read';
  const found = new Map<string, ParamHeader>();
  let schema: unknown;
  try {
    schema = JSON.parse(bytes.toString());
  } catch {
    return 'its schema is no JSON';
  }
  return collect(schema, [], found) ?? [...found.values()];
}

/** Header -> where its argument stands. */
type Found = Map<string, ParamHeader>;

/** Adds the headers that a schema asks for; returned is what is wrong with one. `path` leads there by `properties` alone. */
function collect(schema: unknown, path: readonly string[], found: Found): string | undefined {
  if (!isObject(schema)) return undefined;
  if (path.length > MAX_SCHEMA_DEPTH) return 'its schema is too deep to be read';
  for (const [keyword, value] of Object.entries(schema)) {
    if (keyword === ANNOTATION) {
      const header = headerOf(value, schema, path, found);
      if ('fault' in header) return header.fault;
      if (found.size === MAX_HEADERS) return `it has more than ${MAX_HEADERS} of ${ANNOTATION}`;
      found.set(header.header, header);
    } else if (keyword === 'properties' && isObject(value)) {
      for (const [name, property] of Object.entries(value)) {
        const fault = collect(property, [...path, name], found);
        if (fault !== undefined) return fault;
      }
    } else if (!DATA.has(keyword) && isAnnotated(value, 0)) {
      return `${ANNOTATION} stands where no chain of properties leads`;
    }
  }
  return undefined;
}

function headerOf(
  value: unknown,
  schema: object,
  path: readonly string[],
  found: ReadonlyMap<string, ParamHeader>,
): ParamHeader | { readonly fault: string } {
  if (path.length === 0) return { fault: `${ANNOTATION} stands on the schema itself` };
  if (typeof value !== 'string' || !TOKEN.test(value))
    return { fault: `${ANNOTATION} is no name of a header` };
  const type = 'type' in schema ? schema.type : undefined;
  if (type !== 'string' && type !== 'integer' && type !== 'boolean') {
    return { fault: `${ANNOTATION} stands on what is no string, integer or boolean` };
  }
  const header = `mcp-param-${value.toLowerCase()}`;
  if (found.has(header)) return { fault: `two parameters have one ${ANNOTATION}` };
  return { path, header };
}

/** Too deep to be looked at counts as annotated: nothing is taken for valid unseen. */
function isAnnotated(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (depth > MAX_SCHEMA_DEPTH) return true;
  return (
    Object.hasOwn(value, ANNOTATION) || Object.values(value).some((inner) => isAnnotated(inner, depth + 1))
  );
}

/** The refusal of a call whose headers do not say what its arguments say. */
export function checkParamHeaders(
  expected: readonly ParamHeader[],
  { message, params }: ModernRequest,
  header: Header,
): RpcError | undefined {
  const { bytes } = message;
  const known: Objects = new Map();
  for (const { path, header: name } of expected) {
    const argument = argumentAt(bytes, params.members.arguments, path, known);
    if (argument === 'unreadable') return because(ERRORS.invalidParams, 'arguments cannot be read');
    const given = header(name);
    const isThere = argument !== undefined && !isNull(bytes, argument);
    if (!isThere && given === undefined) continue;
    if (!isThere || given === undefined || !isSame(bytes, argument, given)) {
      return because(ERRORS.headerMismatch, `${name} is not ${path.join('.')} of the arguments`);
    }
  }
  return undefined;
}

/** Where an object starts -> its members, so that many headers read it once. */
type Objects = Map<number, Members | 'unreadable'>;
type Members = ReadonlyMap<string | undefined, Span | 'unreadable'>;

function argumentAt(
  bytes: Buffer,
  args: Span | undefined,
  path: readonly string[],
  known: Objects,
): Span | undefined | 'unreadable' {
  let span = args;
  for (const name of path) {
    if (span === undefined || !isObjectAt(bytes, span.start)) return undefined;
    const members = known.get(span.start) ?? readMembers(bytes, span);
    known.set(span.start, members);
    const found = members === 'unreadable' ? members : members.get(name);
    if (found === 'unreadable') return found;
    span = found;
  }
  return span;
}

/** A name that occurs twice is unreadable. */
function readMembers(bytes: Buffer, { start }: Span): Members | 'unreadable' {
  const entries = entriesOf(bytes, start, MAX_ARGUMENTS);
  if (typeof entries === 'string') return 'unreadable';
  const members = new Map<string | undefined, Span | 'unreadable'>();
  for (const { key, value } of entries) {
    const name = textAt(bytes, key);
    members.set(name, members.has(name) ? 'unreadable' : value);
  }
  return members;
}

const isNull = (bytes: Buffer, { start }: Span): boolean => bytes[start] === 0x6e;

/** Numbers are compared as numbers (server validation), as far as they can be told apart. */
function isSame(bytes: Buffer, argument: Span, given: string): boolean {
  const text = decodeHeader(given);
  if (text === undefined) return false;
  if (isStringAt(bytes, argument.start)) return textAt(bytes, argument) === text;
  const raw = rawAt(bytes, argument);
  return raw === text || (isInteger(raw) && isInteger(text) && Number(raw) === Number(text));
}

/** However it is written; within the range in which numbers are exact. */
const isInteger = (raw: RawJson): boolean =>
  /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(raw) && Number.isSafeInteger(Number(raw));
