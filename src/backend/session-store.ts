/** What the registry of sessions needs from a store. Verbs are whole and atomic, as those of `oauth/ports.ts`. */
import type { GrantId, SessionId, UserId } from '../base/ids.js';

/** What a session is without its child: all that a new child must be told to take up the conversation. */
export interface SessionRecord {
  readonly id: SessionId;
  readonly userId: UserId;
  readonly grantId: GrantId;
  readonly server: string;
  /** The client's `initialize`, asking for the version that was agreed on. */
  readonly initialize: Buffer;
  readonly logLevel: string | null;
  /** URIs of resources. */
  readonly subscriptions: readonly string[];
  /** When the client last said something, within a minute or so; milliseconds since the epoch. */
  readonly seenAt: number;
}

/** What changes while a session goes on. */
export type SessionWishes = Pick<SessionRecord, 'logLevel' | 'subscriptions'>;

export interface SessionStore {
  /** False when its grant is no more. Of a user's sessions beyond `maxPerUser` the longest unseen ones go. */
  addSession(session: SessionRecord, maxPerUser: number): Promise<boolean>;
  findSession(id: string): Promise<SessionRecord | undefined>;
  updateSession(id: SessionId, wishes: SessionWishes): Promise<void>;
  /** Notes when each was last seen. */
  touchSessions(seen: ReadonlyMap<SessionId, number>): Promise<void>;
  removeSession(id: SessionId): Promise<void>;
  /** Forgets those not seen since; returns how many. */
  sweepSessions(seenBefore: number): Promise<number>;
}
