/** How long to wait before a server that keeps ending is started again. Pure. */
import { MINUTE, SECOND } from '../base/clock.js';

export interface Crashes {
  /** Ends in a row that came soon after the start. */
  readonly count: number;
  readonly retryAt: number;
}

export const NO_CRASHES: Crashes = { count: 0, retryAt: 0 };

/** A child that lived this long had no trouble starting. */
const STABLE_MS = MINUTE;
/** Ends in a row before the first wait. */
const TOLERATED = 3;
const LONGEST_WAIT_MS = MINUTE;

export function afterCrash(before: Crashes, startedAt: number, now: number): Crashes {
  const count = now - startedAt < STABLE_MS ? before.count + 1 : 1;
  if (count < TOLERATED) return { count, retryAt: 0 };
  return { count, retryAt: now + Math.min(LONGEST_WAIT_MS, SECOND * 2 ** (count - TOLERATED)) };
}
