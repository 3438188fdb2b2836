/**
 * The ways the text of a secret may be spelled in a line of JSON or of a log: each character as it is, as `\u0041`, as
 * `%41`, any of these escaped again, and the whole inside base64. Texts are strings of bytes (latin1) here.
 */

/** A part of a line without its escapes. */
export interface Unfolded {
  readonly text: string;
  /** Where each byte of `text` begins in the line, and, one entry more, where the last one ends. */
  readonly from: Uint32Array;
}

const QUOTE = 0x22;
const PERCENT = 0x25;
const SLASH = 0x2f;
const ZERO = 0x30;
const BACKSLASH = 0x5c;
const LETTER_U = 0x75;
/** JSON in JSON in a URL in JSON: more layers than programs wrap a message in. */
const DEEPEST = 8;
/** What escapes are made of. */
const SYNTAX = '0123456789abcdefABCDEFu%\\';

const HEX = new Int8Array(256).fill(-1);
for (const digit of '0123456789abcdefABCDEF') HEX[digit.charCodeAt(0)] = Number.parseInt(digit, 16);

/**
 * What base64 makes of `text`, wherever in the encoded bytes it begins (`user:token`, `Bearer token`). Characters at the
 * edges that also depend on the neighbours are left out.
 */
export function base64Of(text: string): string[] {
  const forms = [0, 1, 2].flatMap((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(text, 'latin1')]);
    const [start, end] = [Math.ceil((before * 8) / 6), Math.floor((bytes.length * 8) / 6)];
    return (['base64', 'base64url'] as const).map((alphabet) => bytes.toString(alphabet).slice(start, end));
  });
  return [...new Set(forms)];
}

/** Knows the characters of some texts: finds where one of them may stand in a line, and undoes the escapes there. */
export class Spellings {
  /** The characters of the texts and of the escapes: a spelled text is made of nothing else. */
  readonly #alphabet = new Uint8Array(256);

  constructor(texts: readonly string[]) {
    for (const byte of Buffer.from(SYNTAX + texts.join(''), 'latin1')) this.#alphabet[byte] = 1;
  }

  /** The runs of known characters that are at least `least` long. Most lines of words and numbers have none. */
  findRuns(line: Buffer, least: number, found: (start: number, end: number) => void): void {
    const alphabet = this.#alphabet;
    // What is before `from` is looked at. Most runs are left at their last letters: they are too short to reach the probe.
    for (let from = 0; from + least <= line.length; ) {
      const probe = from + least - 1;
      let start = probe + 1;
      while (start > from && alphabet[line[start - 1] ?? 0] === 1) start -= 1;
      if (start > from) {
        from = start;
        continue;
      }
      let end = probe + 1;
      while (end < line.length && alphabet[line[end] ?? 0] === 1) end += 1;
      found(start, end);
      from = end + 1;
    }
  }

  unfold(line: Buffer, start: number, end: number): Unfolded {
    const from = new Uint32Array(end - start + 1);
    for (let i = 0; i < from.length; i += 1) from[i] = start + i;
    const text = this.#unfold(line.subarray(start, end), from);
    from[text.length] = end;
    return { text, from };
  }

  /** The text alone, in half the time. */
  read(line: Buffer, start: number, end: number): string {
    return this.#unfold(line.subarray(start, end), undefined);
  }

  /** A text as it reads where it is unfolded. */
  normal(text: string): string {
    return this.read(Buffer.from(text, 'latin1'), 0, text.length);
  }

  #unfold(spelled: Buffer, from: Uint32Array | undefined): string {
    const text = Buffer.from(spelled);
    let length = text.length;
    for (let depth = 0; depth < DEEPEST; depth += 1) {
      const before = length;
      // JSON first: what writes percent signs writes backslashes so as well, and a plain one is of an outer layer.
      length = this.#unfoldOnce(text, from, before, BACKSLASH);
      if (length === before) length = this.#unfoldOnce(text, from, before, PERCENT);
      if (length === before) break;
    }
    return text.toString('latin1', 0, length);
  }

  /** Undoes one layer of the escapes that begin with `mark`, in place. Returns the new length. */
  #unfoldOnce(text: Buffer, from: Uint32Array | undefined, length: number, mark: number): number {
    const alphabet = this.#alphabet;
    let written = text.indexOf(mark);
    if (written === -1 || written >= length) return length;
    for (let read = written; read < length; written += 1) {
      let byte = text[read] ?? 0;
      let size = 1;
      if (byte === mark) {
        const digits = read + (mark === PERCENT ? 1 : unicodeDigits(text, read));
        const code = digits > read && digits + 2 <= length ? hexAt(text, digits) : 0;
        if (alphabet[code] === 1) {
          byte = code;
          size = digits + 2 - read;
        } else if (mark === BACKSLASH && read + 1 < length && isPlainEscape(text[read + 1])) {
          byte = text[read + 1] ?? 0;
          size = 2;
        }
      }
      text[written] = byte;
      if (from !== undefined) from[written] = from[read] ?? 0;
      read += size;
    }
    return written;
  }
}

/** Characters that JSON may write, or must write, with one backslash before them. */
const isPlainEscape = (byte: number | undefined): boolean =>
  byte === BACKSLASH || byte === SLASH || byte === QUOTE;

/** How far behind the backslash at `at` the last two digits of `\u00XX` stand; 0 when it begins something else. */
const unicodeDigits = (text: Buffer, at: number): number =>
  text[at + 1] === LETTER_U && text[at + 2] === ZERO && text[at + 3] === ZERO ? 4 : 0;

/** The value of two hexadecimal digits, or 0. */
function hexAt(text: Buffer, at: number): number {
  const high = HEX[text[at] ?? 0] ?? -1;
  const low = HEX[text[at + 1] ?? 0] ?? -1;
  return high < 0 || low < 0 ? 0 : high * 16 + low;
}
