/** What sessions tell whoever counts: numbers and fixed words, nothing about users or what was said. */
import type { ChildEnd } from './child.js';
import type { Session } from './session.js';

/**
 * `rpc_error`: the server's own; `bridge_error`: ours, when there was no answer of the server's to give; `refused`: ours,
 * for what its client did.
 */
export const CALL_OUTCOMES = [
  'answered',
  'rpc_error',
  'bridge_error',
  'refused',
  'timeout',
  'cancelled',
] as const;
export type CallOutcome = (typeof CALL_OUTCOMES)[number];

/**
 * A child was stopped because nobody used it (`idle`) or another one needed its place (`crowded`); a session was closed
 * because nobody used it (`unseen`) or its user had too many (`forgotten`).
 */
export const EVICTIONS = ['idle', 'crowded', 'unseen', 'forgotten'] as const;
export type Eviction = (typeof EVICTIONS)[number];

/** Messages as they pass a session, without what HTTP and event streams wrap around them. */
export const BYTE_DIRECTIONS = ['from_client', 'to_client', 'from_child', 'to_child'] as const;
export type ByteDirection = (typeof BYTE_DIRECTIONS)[number];

/** What there is at this moment. */
export interface Census {
  readonly sessions: Iterable<{ readonly server: string; readonly state: Session['state'] }>;
  /** The server of each child. */
  readonly children: Iterable<string>;
}

/** What modern clients keep open between their requests. */
export interface ModernCensus {
  /** Calls that wait for their clients to come back. */
  readonly parkedCalls: number;
  readonly subscriptions: number;
}

/** Called on the path of every message: an implementation must be cheap, and may not throw. */
export interface SessionObserver {
  /** The handshake with a new child is done, `ms` after it was spawned. */
  readonly childStarted: (server: string, ms: number) => void;
  readonly childEnded: (server: string, how: ChildEnd['how']) => void;
  /** The request that woke a session without a child has its answer, `ms` after it came. */
  readonly firstAnswer: (server: string, ms: number) => void;
  /** Once for each request of a client. */
  readonly called: (server: string, outcome: CallOutcome) => void;
  readonly evicted: (why: Eviction) => void;
  readonly bytes: (direction: ByteDirection, count: number) => void;
}

/** For sessions that nobody counts. */
export const NO_OBSERVER: SessionObserver = {
  childStarted: () => undefined,
  childEnded: () => undefined,
  firstAnswer: () => undefined,
  called: () => undefined,
  evicted: () => undefined,
  bytes: () => undefined,
};
