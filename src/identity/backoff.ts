/**
 * When Forgejo may be asked for tokens: each user waits after a failure, everybody after several without an answer between
 * them, and only a few ask at once, so that one that has just come back is not knocked over. What is asked is not known here.
 */
import { type Clock, MINUTE, SECOND } from '../base/clock.js';
import { ExpiringMap } from '../base/expiring-map.js';
import type { Randomness, UserId } from '../base/ids.js';
import { type IdentityFault, isIdentityFault } from '../oauth/identity.js';

const FIRST_WAIT_MS = SECOND;
const LONGEST_WAIT_MS = MINUTE;
/** Nobody's failure is remembered longer than this. */
const MEMORY_MS = 10 * MINUTE;
const MAX_REMEMBERED = 10_000;
/** Forgejo hashes the client's secret at each request; one that takes too long to answer costs a user the sign-in. */
const AT_ONCE = 8;
/** Failures without an answer between them, after which it is Forgejo that is down, and not a user who is unlucky. */
const FAILURES_OF_ALL = 3;

interface Wait {
  readonly failures: number;
  readonly until: number;
  readonly fault: IdentityFault;
}

export class Backoff {
  readonly #now: Clock;
  readonly #random: Randomness;
  readonly #waits: ExpiringMap<UserId, Wait>;
  #inARow = 0;
  #everybody: Wait | undefined;
  #asking = 0;
  readonly #line: (() => void)[] = [];

  constructor(now: Clock, random: Randomness) {
    this.#now = now;
    this.#random = random;
    this.#waits = new ExpiringMap({ now, ttlMs: MEMORY_MS, capacity: MAX_REMEMBERED });
  }

  /** The last failure, when it is too early for this user to ask again. */
  holdsBack(userId: UserId): IdentityFault | undefined {
    const wait = [this.#waits.get(userId), this.#everybody].find((each) => this.#left(each) > 0);
    return wait && { ...wait.fault, retryAfterMs: this.#left(wait) };
  }

  /** Asks when there is room for it, unless it has become too early by then. Nothing is ever asked twice. */
  async ask<T extends object>(
    userId: UserId,
    request: () => Promise<T | IdentityFault>,
  ): Promise<T | IdentityFault> {
    if (this.#asking < AT_ONCE) this.#asking += 1;
    else await new Promise<void>((turn) => this.#line.push(turn));
    try {
      const early = this.holdsBack(userId);
      if (early !== undefined) return early;
      this.#sendAhead();
      return this.#note(userId, this.#inARow, await request());
    } finally {
      const next = this.#line.shift();
      if (next === undefined) this.#asking -= 1;
      else next();
    }
  }

  /** Makes this user wait, though Forgejo may have answered. */
  failed(userId: UserId, fault: IdentityFault): IdentityFault {
    const wait = this.#next((this.#waits.get(userId)?.failures ?? 0) + 1, fault);
    this.#waits.set(userId, wait);
    this.#waits.sweep();
    return { ...fault, retryAfterMs: this.#left(wait) };
  }

  /** After a wait of everybody's one goes first, and the rest wait for what becomes of it. */
  #sendAhead(): void {
    if (this.#everybody !== undefined)
      this.#everybody = this.#next(this.#everybody.failures, this.#everybody.fault);
  }

  #note<T extends object>(userId: UserId, inARow: number, answer: T | IdentityFault): T | IdentityFault {
    if (!isIdentityFault(answer) || !isDown(answer)) {
      this.#inARow = 0;
      this.#everybody = undefined;
      this.#waits.delete(userId);
      return answer;
    }
    // Those that were on their way together count as one.
    if (inARow === this.#inARow) {
      this.#inARow += 1;
      const failures = this.#inARow - FAILURES_OF_ALL + 1;
      if (failures > 0) this.#everybody = this.#next(failures, answer);
    }
    return this.failed(userId, answer);
  }

  #next(failures: number, fault: IdentityFault): Wait {
    const ms = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - 1));
    const chance = this.#random(4).readUInt32LE() / 2 ** 32;
    // Between half of it and all of it, so that those who failed together do not come back together.
    return { failures, fault, until: this.#now() + Math.ceil((ms * (1 + chance)) / 2) };
  }

  #left(wait: Wait | undefined): number {
    return wait === undefined ? 0 : wait.until - this.#now();
  }
}

/** Says nothing about the user. */
const isDown = ({ kind }: IdentityFault): boolean => kind === 'unreachable' || kind === 'misconfigured';
