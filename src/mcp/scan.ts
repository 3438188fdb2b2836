/**
 * Finds members of a JSON object by byte offset, without building the value: a result of many MiB is skipped, not parsed.
 * It checks the structure it walks and no more; with `maxDepth` it has `json.ts` check all of it.
 */

import { endOfJson, endOfJsonString, skipSpace } from './json.js';

/** Half-open range of bytes. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** The value of a member, and where its name begins. */
export interface MemberSpan extends Span {
  readonly key: number;
}

export interface Entry {
  readonly key: Span;
  readonly value: Span;
}

export interface ScannedObject<Name extends string> {
  readonly members: { readonly [N in Name]?: MemberSpan };
  readonly end: number;
}

export type ScanFault = 'malformed' | 'duplicate';

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
/** `[` and `{`, `]` and `}` differ in this bit only. */
const BRACKET_BIT = 0x20;
/** Below this, looking at each byte beats a native call. */
const SHORT = 64;
/** No text we look for is longer than this, even with each character written as `\uXXXX`. */
const LONGEST_NAME = 256;

/** The members among `names` of the object that starts at `at`, and where it ends. A name met twice is a fault. */
export function membersOf<Name extends string>(
  bytes: Buffer,
  at: number,
  names: readonly Name[],
): ScannedObject<Name> | ScanFault {
  const scanned = placesOf(bytes, at, { names });
  if (scanned === 'malformed') return scanned;
  if (scanned.repeated !== 0) return 'duplicate';
  const members: Partial<Record<Name, MemberSpan>> = {};
  names.forEach((name, index) => {
    const place = scanned.places[index];
    if (place !== undefined) members[name] = place;
  });
  return { members, end: scanned.end };
}

export type Members<Name extends string> = ScannedObject<Name>['members'];

/** The members among `names` of what stands at `span`; none if it is no object, or one of them occurs twice. */
export function membersAt<Name extends string>(
  bytes: Buffer,
  span: Span | undefined,
  names: readonly Name[],
): Members<Name> {
  if (span === undefined || !isObjectAt(bytes, span.start)) return {};
  const scanned = membersOf(bytes, span.start, names);
  return typeof scanned === 'string' ? {} : scanned.members;
}

/** What is looked for in an object; and in the one that stands under the first of the names that `inner` says. */
export interface Shape {
  readonly names: readonly string[];
  readonly inner?: { readonly under: string; readonly shape: Shape };
}

/** In the order of the names: for the hot path, without an object whose shape is new each time. */
export interface ScannedPlaces {
  readonly places: readonly (MemberSpan | undefined)[];
  /** Bit `i` says that name `i` occurs again; its first place is the one that is kept. */
  readonly repeated: number;
  readonly end: number;
  /** Undefined when nothing stands there, or no object. */
  readonly inner: ScannedPlaces | undefined;
}

/**
 * Walks an object, and what is looked into of it, once. With `maxDepth` all of it is checked: what is not malformed is JSON
 * then, of no more levels, if the bytes are UTF-8.
 */
export function placesOf(
  bytes: Buffer,
  at: number,
  { names, inner: within }: Shape,
  maxDepth: number = UNCHECKED,
): ScannedPlaces | 'malformed' {
  if (maxDepth === 0) return 'malformed';
  const places: (MemberSpan | undefined)[] = [];
  for (let i = 0; i < names.length; i += 1) places.push(undefined);
  let repeated = 0;
  let inner: ScannedPlaces | undefined;
  let key = firstKey(bytes, at);
  while (key >= 0) {
    const keyEnd = maxDepth === UNCHECKED ? endOfString(bytes, key) : endOfJsonString(bytes, key);
    const start = startOfValue(bytes, keyEnd);
    if (start === -1) return 'malformed';
    const index = indexAt(bytes, key, keyEnd, names);
    const isFirst = index !== -1 && places[index] === undefined;
    const isWithin = isFirst && within !== undefined && within.under === names[index];
    let end: number;
    if (isWithin && isObjectAt(bytes, start)) {
      const scanned = placesOf(bytes, start, within.shape, maxDepth - 1);
      if (scanned === 'malformed') return scanned;
      inner = scanned;
      end = scanned.end;
    } else end = maxDepth === UNCHECKED ? endOfValue(bytes, start) : endOfJson(bytes, start, maxDepth - 1);
    if (isFirst) places[index] = { start, end, key };
    else if (index !== -1) repeated |= 1 << index;
    key = nextKey(bytes, end);
  }
  return key === MALFORMED ? 'malformed' : { places, repeated, end: endOf(key), inner };
}

/** Each member of the object that starts at `at`, in order; at most `limit` of them. */
export function entriesOf(bytes: Buffer, at: number, limit: number): Entry[] | 'malformed' | 'too many' {
  const entries: Entry[] = [];
  let key = firstKey(bytes, at);
  while (key >= 0) {
    const keyEnd = endOfString(bytes, key);
    const start = startOfValue(bytes, keyEnd);
    if (start === -1) return 'malformed';
    if (entries.length === limit) return 'too many';
    const end = endOfValue(bytes, start);
    entries.push({ key: { start: key, end: keyEnd }, value: { start, end } });
    key = nextKey(bytes, end);
  }
  return key === MALFORMED ? 'malformed' : entries;
}

/** No limit, and no check; one level further down it is still the same. */
const UNCHECKED = Number.POSITIVE_INFINITY;

/** Instead of where a key begins: there is none where one must be; below it, the end of the object (`endOf`). */
const MALFORMED = -1;
const endOf = (key: number): number => MALFORMED - key;

function firstKey(bytes: Buffer, at: number): number {
  if (bytes[at] !== OPEN_BRACE) return MALFORMED;
  const i = skipSpace(bytes, at + 1);
  if (bytes[i] === QUOTE) return i;
  return bytes[i] === CLOSE_BRACE ? MALFORMED - (i + 1) : MALFORMED;
}

/** `at`: where the value before it ends, or -1. */
function nextKey(bytes: Buffer, at: number): number {
  if (at === -1) return MALFORMED;
  const i = skipSpace(bytes, at);
  if (bytes[i] === CLOSE_BRACE) return MALFORMED - (i + 1);
  if (bytes[i] !== COMMA) return MALFORMED;
  const key = skipSpace(bytes, i + 1);
  return bytes[key] === QUOTE ? key : MALFORMED;
}

/** `keyEnd`: where the key before it ends, or -1. The same if it is followed by no colon. */
function startOfValue(bytes: Buffer, keyEnd: number): number {
  if (keyEnd === -1) return -1;
  const colon = skipSpace(bytes, keyEnd);
  return bytes[colon] === COLON ? skipSpace(bytes, colon + 1) : -1;
}

/** The elements of the array that starts at `at`; at most `limit` of them. */
export function elementsOf(bytes: Buffer, at: number, limit: number): Span[] | 'malformed' | 'too many' {
  const spans: Span[] = [];
  let i = skipSpace(bytes, at + 1);
  if (bytes[i] === CLOSE_BRACKET) return spans;
  for (;;) {
    const end = endOfValue(bytes, i);
    if (end === -1) return 'malformed';
    if (spans.length === limit) return 'too many';
    spans.push({ start: i, end });
    i = skipSpace(bytes, end);
    if (bytes[i] === CLOSE_BRACKET) return spans;
    if (bytes[i] !== COMMA) return 'malformed';
    i = skipSpace(bytes, i + 1);
  }
}

export const isArrayAt = (bytes: Buffer, at: number): boolean => bytes[at] === OPEN_BRACKET;
export const isObjectAt = (bytes: Buffer, at: number): boolean => bytes[at] === OPEN_BRACE;
export const isStringAt = (bytes: Buffer, at: number): boolean => bytes[at] === QUOTE;

/** The text of the string value at `span`, or undefined if it is no string. */
export function textAt(bytes: Buffer, span: Span): string | undefined {
  if (bytes[span.start] !== QUOTE) return undefined;
  const raw = bytes.toString('utf8', span.start, span.end);
  if (!raw.includes('\\')) return raw.slice(1, -1);
  try {
    return String(JSON.parse(raw));
  } catch {
    return undefined;
  }
}

/** Which of `names` the string between `start` and `end` is, or -1. */
function indexAt(bytes: Buffer, start: number, end: number, names: readonly string[]): number {
  for (let i = 0; i < names.length; i += 1) if (isPlainTextAt(bytes, start, end, names[i] ?? '')) return i;
  if (end - start > LONGEST_NAME || !hasEscape(bytes, start, end)) return -1;
  return names.indexOf(textAt(bytes, { start, end }) ?? '');
}

/** Whether the string at `span` is `text`, without making a string of it where nothing is escaped. */
export function isTextAt(bytes: Buffer, { start, end }: Span, text: string): boolean {
  return isPlainTextAt(bytes, start, end, text) || indexAt(bytes, start, end, [text]) === 0;
}

function isPlainTextAt(bytes: Buffer, start: number, end: number, text: string): boolean {
  if (end - start !== text.length + 2 || bytes[start] !== QUOTE) return false;
  for (let i = 0; i < text.length; i += 1) if (bytes[start + 1 + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** An escape makes a text longer, so a name of the right length holds none. */
function hasEscape(bytes: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i += 1) if (bytes[i] === BACKSLASH) return true;
  return false;
}

/** Where the value that starts at `at` ends, or -1. Nesting is a counter, so depth costs no stack. */
function endOfValue(bytes: Buffer, at: number): number {
  const first = bytes[at];
  if (first === QUOTE) return endOfString(bytes, at);
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return endOfNested(bytes, at);
  let i = at;
  while (i < bytes.length && isScalarByte(bytes[i])) i += 1;
  return i > at ? i : -1;
}

/** Bytes that numbers and the three literals are written with. */
function isScalarByte(c: number | undefined): boolean {
  if (c === undefined) return false;
  return (
    (c >= 0x30 && c <= 0x39) ||
    (c >= 0x61 && c <= 0x7a) ||
    c === 0x2d ||
    c === 0x2b ||
    c === 0x2e ||
    c === 0x45
  );
}

function endOfNested(bytes: Buffer, at: number): number {
  let depth = 0;
  for (let i = at; i < bytes.length; ) {
    const c = bytes[i] ?? 0;
    if (c === QUOTE) {
      i = endOfString(bytes, i);
      if (i === -1) return -1;
      continue;
    }
    const brace = c | BRACKET_BIT;
    if (brace === OPEN_BRACE) depth += 1;
    else if (brace === CLOSE_BRACE) {
      depth -= 1;
      if (depth === 0) return i + 1;
    }
    i += 1;
  }
  return -1;
}

/** Where the string whose opening quote stands at `at` ends, or -1. */
function endOfString(bytes: Buffer, at: number): number {
  let i = at + 1;
  for (;;) {
    const near = Math.min(bytes.length, i + SHORT);
    while (i < near) {
      const c = bytes[i];
      if (c === QUOTE) return i + 1;
      i += c === BACKSLASH ? 2 : 1;
    }
    const quote = bytes.indexOf(QUOTE, i);
    if (quote === -1) return -1;
    // The quote is escaped if an odd number of backslashes stands right before it.
    let run = quote;
    while (bytes[run - 1] === BACKSLASH) run -= 1;
    if ((quote - run) % 2 === 0) return quote + 1;
    i = quote + 1;
  }
}
