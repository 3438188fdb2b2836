/**
 * Newline-delimited framing over byte chunks (MCP stdio transport). Whole lines only, so a character split across
 * two chunks is never decoded in halves. Refuses lines longer than its cap: they are skipped, and reported once.
 */
const LF = 0x0a;
const CR = 0x0d;
const MAX_PIECES = 1024;

export interface LineEvents {
  /** One line without its line break. The buffer belongs to the receiver. */
  readonly line: (line: Buffer) => void;
  readonly overlong: () => void;
}

export class LineSplitter {
  readonly #maxBytes: number;
  readonly #events: LineEvents;
  #parts: Buffer[] = [];
  /** The newest pieces; a line that comes byte by byte must not cost a hundred bytes for each. */
  #pieces: Buffer[] = [];
  #held = 0;
  #mode: 'collecting' | 'skipping' = 'collecting';

  constructor(maxBytes: number, events: LineEvents) {
    this.#maxBytes = maxBytes;
    this.#events = events;
  }

  push(chunk: Buffer): void {
    let from = 0;
    for (let at = chunk.indexOf(LF); at !== -1; at = chunk.indexOf(LF, from)) {
      if (this.#held === 0 && this.#mode === 'collecting' && at - from <= this.#maxBytes) {
        this.#emit(chunk.subarray(from, at));
      } else {
        this.#hold(chunk, from, at);
        this.#finish();
      }
      from = at + 1;
    }
    this.#hold(chunk, from, chunk.length);
  }

  /** What came after the last line break, at the end of the stream. */
  flush(): void {
    if (this.#held > 0) this.#finish();
  }

  #hold(chunk: Buffer, from: number, to: number): void {
    if (this.#mode === 'skipping' || from === to) return;
    this.#held += to - from;
    if (this.#held <= this.#maxBytes) {
      this.#pieces.push(chunk.subarray(from, to));
      if (this.#pieces.length === MAX_PIECES) this.#join();
      return;
    }
    this.#reset('skipping');
    this.#events.overlong();
  }

  #finish(): void {
    const parts = [...this.#parts, ...this.#pieces];
    const [first] = parts;
    const line = parts.length === 1 && first !== undefined ? first : Buffer.concat(parts);
    const mode = this.#mode;
    this.#reset('collecting');
    if (mode === 'collecting') this.#emit(line);
  }

  #emit(line: Buffer): void {
    this.#events.line(line[line.length - 1] === CR ? line.subarray(0, -1) : line);
  }

  #join(): void {
    this.#parts.push(Buffer.concat(this.#pieces));
    this.#pieces = [];
  }

  #reset(mode: 'collecting' | 'skipping'): void {
    this.#parts = [];
    this.#pieces = [];
    this.#held = 0;
    this.#mode = mode;
  }
}
