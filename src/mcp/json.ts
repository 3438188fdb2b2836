/**
 * What is JSON in UTF-8, for texts of strangers, and where a value ends. It builds nothing, so the worst body a client may
 * send costs its length and no memory (JSON.parse takes seconds and a gigabyte for 16 MiB of brackets). Refuses deep nesting.
 */
import { isUtf8 } from 'node:buffer';

/** RFC 8259 §9 allows a limit; a recursive parser behind us has one. */
export const MAX_DEPTH = 1000;

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const LETTER_U = 0x75;
const LITERALS = ['true', 'false', 'null'].map((text) => Buffer.from(text));
const SIMPLE_ESCAPES = new Set(Buffer.from('"\\/bfnrt'));

type Expected = 'value' | 'value or end' | 'name' | 'name or end' | 'more or end';

export function isJson(bytes: Buffer): boolean {
  if (!isUtf8(bytes)) return false;
  const end = endOfJson(bytes, skipSpace(bytes, 0), MAX_DEPTH);
  return end !== -1 && skipSpace(bytes, end) === bytes.length;
}

/** Where the JSON value that starts at `at` ends, or -1 if there is none, or one of more levels than `maxDepth`. */
export function endOfJson(bytes: Buffer, at: number, maxDepth: number): number {
  const c = bytes[at];
  return c === OPEN_BRACE || c === OPEN_BRACKET ? endOfNested(bytes, at, maxDepth) : endOfScalar(bytes, at);
}

function endOfNested(bytes: Buffer, at: number, maxDepth: number): number {
  /** The bytes that close what is open, the innermost apart. */
  const open: number[] = [];
  let closing = NOTHING;
  let expected: Expected = 'value';
  for (let i = at; ; i = skipSpace(bytes, i)) {
    const c = bytes[i];
    const isEnd = c === closing && expected !== 'value' && expected !== 'name';
    if (isEnd) {
      closing = open.pop() ?? NOTHING;
      if (closing === NOTHING) return i + 1;
      expected = 'more or end';
      i += 1;
    } else if (expected === 'more or end') {
      if (c !== COMMA) return -1;
      expected = closing === CLOSE_BRACE ? 'name' : 'value';
      i += 1;
    } else if (expected === 'name' || expected === 'name or end') {
      const end = endOfJsonString(bytes, i);
      if (end === -1) return -1;
      i = skipSpace(bytes, end);
      if (bytes[i] !== COLON) return -1;
      expected = 'value';
      i += 1;
    } else if (c === OPEN_BRACE || c === OPEN_BRACKET) {
      if (open.length === maxDepth) return -1;
      open.push(closing);
      closing = c === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET;
      expected = c === OPEN_BRACE ? 'name or end' : 'value or end';
      i += 1;
    } else {
      i = endOfScalar(bytes, i);
      if (i === -1) return -1;
      expected = 'more or end';
    }
  }
}

/** A byte that closes nothing. */
const NOTHING = 0;

function endOfScalar(bytes: Buffer, at: number): number {
  const c = bytes[at] ?? 0;
  if (c === QUOTE) return endOfJsonString(bytes, at);
  if (c === MINUS || isDigit(c)) return endOfNumber(bytes, at);
  const literal = LITERALS.find((text) => c === text[0]);
  if (literal === undefined) return -1;
  const end = at + literal.length;
  return end <= bytes.length && bytes.compare(literal, 0, literal.length, at, end) === 0 ? end : -1;
}

/** Where the JSON string that starts at `at` ends, or -1 if there is none. */
export function endOfJsonString(bytes: Buffer, at: number): number {
  if (bytes[at] !== QUOTE) return -1;
  for (let i = at + 1; i < bytes.length; i += 1) {
    const c = bytes[i] ?? 0;
    if (c === QUOTE) return i + 1;
    if (c < 0x20) return -1;
    if (c !== BACKSLASH) continue;
    i += 1;
    const escaped = bytes[i] ?? 0;
    if (SIMPLE_ESCAPES.has(escaped)) continue;
    if (escaped !== LETTER_U) return -1;
    for (const end = i + 4; i < end; ) {
      i += 1;
      if (!isHex(bytes[i])) return -1;
    }
  }
  return -1;
}

function endOfNumber(bytes: Buffer, at: number): number {
  const digits = bytes[at] === MINUS ? at + 1 : at;
  let end = endOfDigits(bytes, digits);
  if (end > digits + 1 && bytes[digits] === ZERO) return -1;
  if (end !== -1 && bytes[end] === DOT) end = endOfDigits(bytes, end + 1);
  if (end !== -1 && ((bytes[end] ?? 0) | 0x20) === 0x65) {
    const signed = bytes[end + 1] === MINUS || bytes[end + 1] === 0x2b;
    end = endOfDigits(bytes, end + (signed ? 2 : 1));
  }
  return end;
}

/** At least one digit. */
function endOfDigits(bytes: Buffer, at: number): number {
  let i = at;
  while (isDigit(bytes[i])) i += 1;
  return i > at ? i : -1;
}

/** The first place from `at` on where no white space of JSON stands; at most the end. */
export function skipSpace(bytes: Buffer, at: number): number {
  let i = at;
  while (i < bytes.length) {
    const c = bytes[i] ?? 0;
    // Most often there is none, and one look says so.
    if (c > 0x20 || (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09)) return i;
    i += 1;
  }
  return i;
}

const isDigit = (c: number | undefined): boolean => c !== undefined && c >= ZERO && c <= 0x39;

function isHex(c: number | undefined): boolean {
  return isDigit(c) || (c !== undefined && (c | 0x20) >= 0x61 && (c | 0x20) <= 0x66);
}
