/**
 * How much a child may say. What is beyond it is not read until it has rested for it, and a child that goes on is held up
 * by its own full pipe: a flood costs neither memory nor, but for its share, the broker's time.
 */
import type { Drain } from './calls.js';

/** What it may spend in a second, of each. */
export interface Rate {
  readonly bytes: number;
  /** Every line costs work of its own, also an empty one. */
  readonly lines: number;
  /** Of the broker's time, which is what all children share; lines differ by a hundred times in what they take. */
  readonly busyMs: number;
}

export type Spent = Rate;

/** A child that was quiet may spend so much of its seconds at once. */
const BURST_MS = 500;
/** More is forgiven: it may not have been the child that was slow, but the machine. */
const LONGEST_REST_MS = 2000;

export class Pace implements Disposable {
  readonly #perSecond: Rate;
  readonly #now: () => number;
  /** When all that was spent will have been earned. */
  #earnedAt = 0;
  #rest: { readonly over: Promise<void>; readonly end: () => void } | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(perSecond: Rate, now: () => number) {
    this.#perSecond = perSecond;
    this.#now = now;
  }

  /** Notes what was read; what is returned settles when more may be. */
  spend({ bytes, lines, busyMs }: Spent): Drain {
    const rate = this.#perSecond;
    const seconds = Math.max(bytes / rate.bytes, lines / rate.lines, busyMs / rate.busyMs);
    const now = this.#now();
    this.#earnedAt = Math.max(this.#earnedAt, now) + seconds * 1000;
    const restMs = Math.min(this.#earnedAt - now - BURST_MS, LONGEST_REST_MS);
    if (restMs <= 0) return undefined;
    this.#earnedAt = now + BURST_MS + restMs;
    this.#rest ??= openRest();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this[Symbol.dispose](), restMs);
    return this.#rest.over;
  }

  /** Nothing is held back any more. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#rest?.end();
    this.#rest = undefined;
  }
}

function openRest() {
  let end: () => void = () => undefined;
  const over = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { over, end };
}
