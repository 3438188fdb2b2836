/**
 * Removes the upstream token from what a child writes. Forgejo quotes the token in its 401 bodies, and servers pass
 * those on in answers, errors and logs, escaped or cut as they please. Works on whole lines, so no chunk border can hide
 * half of it. It knows the one token that its child was given: what other children have, this one has never seen.
 */
import type { Secret } from '../base/secret.js';
import type { Span } from '../mcp/scan.js';
import { base64Of, Spellings } from './spellings.js';

const REDACTED = Buffer.from('[redacted]');
/** A shorter secret would blank out ordinary text; no upstream issues one. */
const SHORTEST = 8;
/** Long enough to occur in a token and nowhere else. */
const CORE = 16;
const ESCAPE = /[%\\]/;
const BACKSLASH = 0x5c;
const LETTER_U = 0x75;

export type Redactor = (line: Buffer) => Buffer;

/**
 * A text is looked for by the middle of it, and removed as far as it goes from there: servers cut long messages, and
 * the better half of a token is as secret as the whole. Strings of bytes (latin1).
 */
interface Needle {
  readonly text: string;
  readonly core: string;
  readonly coreAt: number;
}

export function createRedactor(secret: Secret): Redactor {
  const token = bytesOf(secret.reveal());
  if (token.length < SHORTEST) return (line) => line;
  const forms = [token, ...base64Of(token)];
  const spellings = new Spellings(forms);
  const needles = forms.map((form) => needleOf(spellings.normal(form)));
  const least = Math.min(...needles.map(leastPiece));
  return (line) => {
    const found: Span[] = [];
    spellings.findRuns(line, least, (start, end) => {
      const run = line.toString('latin1', start, end);
      const isSpelled = ESCAPE.test(run);
      const text = isSpelled ? spellings.read(line, start, end) : run;
      if (!needles.some(({ core }) => text.includes(core))) return;
      // Where it stands is asked only now: nearly always it does not.
      const unfolded = isSpelled ? spellings.unfold(line, start, end) : undefined;
      const placeOf = (at: number) => unfolded?.from[at] ?? start + at;
      for (const needle of needles) {
        find(text, needle, (first, last) => {
          found.push({ start: beforeEscape(line, placeOf(first)), end: placeOf(last) });
        });
      }
    });
    return found.length === 0 ? line : without(line, found);
  };
}

/**
 * For a log whose lines may be pieces of one text, wrapped at some width: removes pieces of a secret. A piece of 15
 * characters is always found. Texts of the length of a log line only: the cost grows with the token's.
 */
export function createPieceRedactor(secret: Secret): (text: string) => string {
  const token = bytesOf(secret.reveal());
  const needles = Array.from({ length: Math.floor(token.length / SHORTEST) }, (_, i): Needle => {
    const coreAt = i * SHORTEST;
    return { text: token, core: token.slice(coreAt, coreAt + SHORTEST), coreAt };
  });
  return (text) => {
    const bytes = bytesOf(text);
    const found: Span[] = [];
    for (const needle of needles) find(bytes, needle, (start, end) => found.push({ start, end }));
    return found.length === 0 ? text : without(Buffer.from(text), found).toString();
  };
}

const bytesOf = (text: string): string => Buffer.from(text).toString('latin1');

/** The core occurs once in the text, so that it tells where in the text it stands. */
function needleOf(text: string): Needle {
  for (let length = CORE; ; length *= 2) {
    const coreAt = Math.max(0, Math.floor((text.length - length) / 2));
    const core = text.slice(coreAt, coreAt + length);
    if (text.indexOf(core) === text.lastIndexOf(core)) return { text, core, coreAt };
  }
}

/** Every piece of the text of this length contains the core. */
const leastPiece = ({ text, core, coreAt }: Needle): number =>
  Math.max(coreAt + core.length, text.length - coreAt);

function find(
  line: string,
  { text, core, coreAt }: Needle,
  found: (start: number, end: number) => void,
): void {
  let read = 0;
  for (let at = line.indexOf(core); at !== -1; at = line.indexOf(core, read)) {
    let start = at;
    for (let i = coreAt; i > 0 && start > read && line[start - 1] === text[i - 1]; i -= 1) start -= 1;
    read = at + core.length;
    for (let i = coreAt + core.length; i < text.length && line[read] === text[i]; i += 1) read += 1;
    found(start, read);
  }
}

/**
 * A piece may seem to begin with the last letter of an escape (`\n`, `\u000a`), and JSON with half an escape is none.
 * It never ends inside one: after its first backslash an escape is no part of the piece.
 */
function beforeEscape(line: Buffer, at: number): number {
  for (let start = at - 1; start >= 0 && start > at - 6; start -= 1) {
    if (line[start] !== BACKSLASH) continue;
    const end = start + (line[start + 1] === LETTER_U ? 6 : 2);
    if (end > at && !isEscaped(line, start)) return start;
  }
  return at;
}

function isEscaped(line: Buffer, at: number): boolean {
  let run = at;
  while (line[run - 1] === BACKSLASH) run -= 1;
  return (at - run) % 2 === 1;
}

/** `line` with `[redacted]` for each span; spans that touch or overlap become one. */
function without(line: Buffer, found: Span[]): Buffer {
  const parts: Buffer[] = [];
  let read = 0;
  let redactedTo = -1;
  for (const { start, end } of found.sort((a, b) => a.start - b.start)) {
    if (start > redactedTo) parts.push(line.subarray(read, start), REDACTED);
    redactedTo = Math.max(redactedTo, end);
    read = redactedTo;
  }
  parts.push(line.subarray(read));
  return Buffer.concat(parts);
}
