/**
 * Whether a refresh token may be exchanged again. Pure, so that the store, which decides in the middle of a transaction,
 * and introspection, which only looks, cannot come to different answers.
 */
import type { RefreshPolicy } from './ports.js';

/** What became of a refresh token. Times are milliseconds since the epoch, null as long as it did not happen. */
export interface Rotation {
  /** First time it was replaced, and how often since. */
  readonly rotatedAt: number | null;
  readonly rotations: number;
  /** First time one of its successors was used: proof that its client has one. */
  readonly successorUsedAt: number | null;
}

/**
 * Hosts refresh in bursts of up to 76 s, in parallel and from two addresses; a lost answer may be noticed much later.
 * What a thief gains by it stands in docs/conformance.md (RFC 9700 §4.14.2).
 */
export const REFRESH_POLICY: RefreshPolicy = { graceMs: 120_000, maxRotations: 50 };

export function judgeRefresh(
  { rotatedAt, rotations, successorUsedAt }: Rotation,
  now: number,
  { graceMs, maxRotations }: RefreshPolicy,
): 'good' | 'reused' | 'over_cap' {
  if (rotatedAt === null) return 'good';
  if (now - rotatedAt > graceMs && successorUsedAt !== null) return 'reused';
  return rotations >= maxRotations ? 'over_cap' : 'good';
}
