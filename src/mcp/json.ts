/**
 * Whether bytes are JSON in UTF-8, for texts of strangers. It builds nothing, so the worst body a client may send costs
 * its length and no memory (JSON.parse takes seconds and a gigabyte for 16 MiB of brackets). Refuses deep nesting.
 */
import { isUtf8 } from 'node:buffer';
import { skipSpace } from './scan.js';

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
  return isUtf8(bytes) && matchesGrammar(bytes);
}

function matchesGrammar(bytes: Buffer): boolean {
  /** The bytes that close what is open. */
  const open: number[] = [];
  let expected: Expected = 'value';
  for (let i = skipSpace(bytes, 0); ; i = skipSpace(bytes, i)) {
    const c = bytes[i];
    if (expected === 'more or end') {
      const closing = open.at(-1);
      if (closing === undefined) return i === bytes.length;
      if (c === COMMA) expected = closing === CLOSE_BRACE ? 'name' : 'value';
      else if (c === closing) open.pop();
      else return false;
      i += 1;
    } else if (c === open.at(-1) && (expected === 'name or end' || expected === 'value or end')) {
      open.pop();
      expected = 'more or end';
      i += 1;
    } else if (expected === 'name' || expected === 'name or end') {
      i = skipSpace(bytes, endOfString(bytes, i));
      if (bytes[i] !== COLON) return false;
      expected = 'value';
      i += 1;
    } else if (c === OPEN_BRACE || c === OPEN_BRACKET) {
      if (open.length === MAX_DEPTH) return false;
      open.push(c === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET);
      expected = c === OPEN_BRACE ? 'name or end' : 'value or end';
      i += 1;
    } else {
      i = endOfScalar(bytes, i);
      if (i === NOWHERE) return false;
      expected = 'more or end';
    }
  }
}

/** An offset behind every text: nothing that is looked for stands there. */
const NOWHERE = Number.MAX_SAFE_INTEGER;

function endOfScalar(bytes: Buffer, at: number): number {
  if (bytes[at] === QUOTE) return endOfString(bytes, at);
  const literal = LITERALS.find((text) => bytes[at] === text[0]);
  if (literal === undefined) return endOfNumber(bytes, at);
  const end = at + literal.length;
  return end <= bytes.length && bytes.compare(literal, 0, literal.length, at, end) === 0 ? end : NOWHERE;
}

function endOfString(bytes: Buffer, at: number): number {
  if (bytes[at] !== QUOTE) return NOWHERE;
  for (let i = at + 1; i < bytes.length; i += 1) {
    const c = bytes[i] ?? 0;
    if (c === QUOTE) return i + 1;
    if (c < 0x20) return NOWHERE;
    if (c !== BACKSLASH) continue;
    i += 1;
    const escaped = bytes[i] ?? 0;
    if (SIMPLE_ESCAPES.has(escaped)) continue;
    if (escaped !== LETTER_U) return NOWHERE;
    for (const end = i + 4; i < end; ) {
      i += 1;
      if (!isHex(bytes[i])) return NOWHERE;
    }
  }
  return NOWHERE;
}

function endOfNumber(bytes: Buffer, at: number): number {
  const digits = bytes[at] === MINUS ? at + 1 : at;
  let end = endOfDigits(bytes, digits);
  if (end > digits + 1 && bytes[digits] === ZERO) return NOWHERE;
  if (bytes[end] === DOT) end = endOfDigits(bytes, end + 1);
  if (((bytes[end] ?? 0) | 0x20) === 0x65) {
    const signed = bytes[end + 1] === MINUS || bytes[end + 1] === 0x2b;
    end = endOfDigits(bytes, end + (signed ? 2 : 1));
  }
  return end;
}

/** At least one digit. */
function endOfDigits(bytes: Buffer, at: number): number {
  let i = at;
  while (isDigit(bytes[i])) i += 1;
  return i > at ? i : NOWHERE;
}

const isDigit = (c: number | undefined): boolean => c !== undefined && c >= ZERO && c <= 0x39;

function isHex(c: number | undefined): boolean {
  return isDigit(c) || (c !== undefined && (c | 0x20) >= 0x61 && (c | 0x20) <= 0x66);
}
