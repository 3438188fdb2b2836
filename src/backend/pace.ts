/**
 * How much a child may say. What is beyond it is not read before the second is over, and a child that goes on is held
 * up by its own full pipe: a flood costs neither memory nor, but for its share, the broker's time.
 */
import type { Drain } from './calls.js';

export interface Rate {
  readonly bytes: number;
  /** Every line costs work of its own, also an empty one. */
  readonly lines: number;
}

const WINDOW_MS = 1000;

export class Pace implements Disposable {
  readonly #perSecond: Rate;
  #bytes = 0;
  #lines = 0;
  #window: NodeJS.Timeout | undefined;
  #rest: { readonly over: Promise<void>; readonly end: () => void } | undefined;

  constructor(perSecond: Rate) {
    this.#perSecond = perSecond;
  }

  /** Notes what was read; what is returned settles when more may be. */
  spend(bytes: number, lines: number): Drain {
    this.#bytes += bytes;
    this.#lines += lines;
    this.#window ??= setTimeout(() => this[Symbol.dispose](), WINDOW_MS);
    if (this.#bytes <= this.#perSecond.bytes && this.#lines <= this.#perSecond.lines) return undefined;
    this.#rest ??= openRest();
    return this.#rest.over;
  }

  /** Nothing is held back any more; what is spent from here on counts anew. */
  [Symbol.dispose](): void {
    clearTimeout(this.#window);
    this.#rest?.end();
    this.#window = undefined;
    this.#rest = undefined;
    this.#bytes = 0;
    this.#lines = 0;
  }
}

function openRest() {
  let end: () => void = () => undefined;
  const over = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { over, end };
}
