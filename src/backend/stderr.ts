/**
 * A child's stderr on its way to the operator's log: bounded in rate and length, without control characters. Servers log
 * tool arguments there, so line by line it is debug; only the last words of a child that died are told louder.
 * Lines come without the token; a server that wraps its log at some width leaves pieces of it, which go here.
 */
import { type Clock, SECOND } from '../base/clock.js';
import type { Log } from '../base/log.js';

const LINES_PER_SECOND = 20;
const MAX_CHARACTERS = 1000;
const LAST_WORDS = 5;

export class StderrLog {
  readonly #log: Log;
  readonly #now: Clock;
  readonly #withoutPieces: (text: string) => string;
  readonly #last: string[] = [];
  #second = 0;
  #lines = 0;

  constructor(log: Log, now: Clock, withoutPieces: (text: string) => string) {
    this.#log = log;
    this.#now = now;
    this.#withoutPieces = withoutPieces;
  }

  get lastWords(): readonly string[] {
    return this.#last.map(this.#withoutPieces);
  }

  write(line: Buffer): void {
    // Bytes, then characters: a line may be cut inside a character, which then reads as U+FFFD.
    const text = line
      .toString('utf8', 0, MAX_CHARACTERS * 4)
      .replace(/\p{Cc}/gu, ' ')
      .slice(0, MAX_CHARACTERS);
    if (this.#last.push(text) > LAST_WORDS) this.#last.shift();
    const second = Math.floor(this.#now() / SECOND);
    if (second !== this.#second) {
      if (this.#lines > LINES_PER_SECOND) {
        this.#log.debug('child.stderr-dropped', { lines: this.#lines - LINES_PER_SECOND });
      }
      this.#second = second;
      this.#lines = 0;
    }
    this.#lines += 1;
    if (this.#lines <= LINES_PER_SECOND) this.#log.debug('child.stderr', { text: this.#withoutPieces(text) });
  }
}
