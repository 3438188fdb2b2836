/**
 * The books of a chaos run: what was asked and how it ended, what was done to the broker and when, and every breach of what
 * has to hold. A failure is forgiven only while something goes on that explains it.
 */

import { HungUp } from './wire.js';

/** What is done to the broker, as far as it excuses a failure. */
export type Trouble = 'kill' | 'restart' | 'kill9' | 'forgejo' | 'disk';

export type Outcome =
  | 'answer'
  | 'question'
  | 'error'
  | 'refused'
  | 'raced'
  | 'abandoned'
  | 'lost with the broker';

/** Of the client. */
export type Era = 'legacy' | 'modern';

interface Window {
  readonly trouble: Trouble;
  readonly from: number;
  to: number;
}

/** How long a trouble is felt after its end: what began meanwhile, and what the broker waits before it tries again. */
const AFTERMATH_MS: Readonly<Record<Trouble, number>> = {
  // The longest pause before a child that keeps ending is started again.
  kill: 60_000,
  restart: 0,
  kill9: 0,
  // A refresh that hangs is given up after 10 s.
  forgejo: 15_000,
  disk: 1000,
};

/** By `data.reason` of the error; any other is a breach whatever goes on. */
const EXCUSES: Readonly<Record<string, readonly Trouble[]>> = {
  'child-ended': ['kill'],
  'child-keeps-ending': ['kill'],
  stopping: ['restart'],
  unreachable: ['forgejo'],
  internal: ['disk'],
  'http 500': ['disk'],
  'http 503': ['restart'],
  'call-gone': ['restart', 'kill9'],
};
/** The house is full, and says so. */
const NO_EXCUSE_NEEDED = ['busy', 'place-needed'];
const MAX_SHOWN = 20;

export class Ledger {
  readonly breaches = new Map<string, string[]>();
  readonly outcomes = new Map<Outcome, number>();
  readonly reasons = new Map<string, number>();
  readonly counts = new Map<string, number>();
  readonly latencies: number[] = [];
  readonly #windows: Window[] = [];
  readonly #open = new Map<Entry, string>();

  get openCalls(): readonly string[] {
    return [...this.#open.values()];
  }

  get isDone(): boolean {
    return this.#open.size === 0;
  }

  breach(what: string, details = ''): void {
    this.breaches.set(what, [...(this.breaches.get(what) ?? []), details]);
  }

  count(what: string, n = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + n);
  }

  /** Returns what ends it. */
  begin(trouble: Trouble): () => void {
    const window: Window = { trouble, from: Date.now(), to: Number.POSITIVE_INFINITY };
    this.#windows.push(window);
    return () => {
      window.to = Date.now();
    };
  }

  /** Whether one of these went on, or was still felt, at some time between `since` and now. */
  had(troubles: readonly Trouble[], since: number): boolean {
    return this.#windows.some(
      ({ trouble, to }) => troubles.includes(trouble) && to + AFTERMATH_MS[trouble] >= since,
    );
  }

  /** `since`: when the call began that this request goes on with. */
  call(description: string, era: Era = 'legacy', since = Date.now()): Entry {
    const entry = new Entry(this, description, era, since, () => this.#open.delete(entry));
    this.#open.set(entry, description);
    return entry;
  }

  close(outcome: Outcome, era: Era): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    if (era === 'modern') this.count(`modern, ended with: ${outcome}`);
  }

  failed(reason: string, description: string, era: Era, since: number): void {
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
    if (era === 'modern') this.count(`modern, error: ${reason}`);
    if (NO_EXCUSE_NEEDED.includes(reason) || this.had(EXCUSES[reason] ?? [], since)) return;
    this.breach(`an error without a cause: ${reason}`, description);
  }

  /** Every breach with some of its cases. */
  describeBreaches(): string {
    return [...this.breaches]
      .map(([what, cases]) => {
        const shown = cases.filter((text) => text !== '').slice(0, MAX_SHOWN);
        return `  ${what} (${cases.length})\n${shown.map((text) => `      ${text}\n`).join('')}`;
      })
      .join('');
  }
}

/** One request of a client, until its fate is known. */
export class Entry {
  readonly startedAt = Date.now();
  readonly #ledger: Ledger;
  readonly #description: string;
  readonly #era: Era;
  readonly #since: number;
  readonly #remove: () => void;

  constructor(ledger: Ledger, description: string, era: Era, since: number, remove: () => void) {
    this.#ledger = ledger;
    this.#description = description;
    this.#era = era;
    this.#since = since;
    this.#remove = remove;
  }

  answered(timed: boolean): void {
    if (timed) this.#ledger.latencies.push(Date.now() - this.startedAt);
    this.#end('answer');
  }

  failed(reason: string): void {
    this.#ledger.failed(reason, this.#describe(), this.#era, this.#since);
    this.#end('error');
  }

  /** Its client was asked something first. */
  asked(): void {
    this.#end('question');
  }

  /** No connection, or one that broke off. */
  refused(why: unknown): void {
    const isKilled = this.#ledger.had(['kill9'], this.startedAt);
    const isRaced = why instanceof HungUp && this.#ledger.had(['restart'], this.startedAt);
    if (!isKilled && !isRaced)
      this.#ledger.breach(`a connection that failed: ${String(why)}`, this.#describe());
    this.#end(isRaced && !isKilled ? 'raced' : 'refused');
  }

  /** Its client left of its own accord. */
  abandoned(): void {
    this.#end('abandoned');
  }

  /** Its client left, and found another broker when it came back. */
  lost(): void {
    if (!this.#ledger.had(['kill9', 'restart'], this.startedAt))
      this.#ledger.breach('an answer that could not be fetched later', this.#describe());
    this.#end('lost with the broker');
  }

  breach(what: string, details = ''): void {
    this.#ledger.breach(what, `${this.#describe()} ${details}`);
    this.#end('error');
  }

  #describe(): string {
    const at = new Date(this.startedAt).toISOString().slice(11, 23);
    return `${at} +${Date.now() - this.startedAt} ms ${this.#description}`;
  }

  #end(outcome: Outcome): void {
    this.#remove();
    this.#ledger.close(outcome, this.#era);
  }
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
