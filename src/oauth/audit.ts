/** What an operator must be able to look up later: one structured event in store and log, under an id a user can quote. */
import { type Clock, MINUTE } from '../base/clock.js';
import { ExpiringMap } from '../base/expiring-map.js';
import { type Brand, type GrantId, type Randomness, randomId, type UserId } from '../base/ids.js';
import { describeError, type Log } from '../base/log.js';

export type AuditId = Brand<string, 'AuditId'>;

export const AUDIT_KINDS = [
  'client.registered',
  'client.refused',
  'client.removed',
  'authorization.refused',
  'sign_in.refused',
  'grant.made',
  'grant.revoked',
  'user.revoked',
  'code.replayed',
  'refresh.reused',
  'token.revoked',
  'token.refused',
] as const;
export type AuditKind = (typeof AUDIT_KINDS)[number];

/** Who and what, never a secret. `reason` is one of our own words. */
export interface AuditSubject {
  readonly user?: UserId | undefined;
  readonly client?: string | undefined;
  readonly grant?: GrantId | undefined;
  readonly reason?: string | undefined;
}

export interface AuditEvent extends AuditSubject {
  readonly id: AuditId;
  readonly kind: AuditKind;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface AuditStore {
  addAuditEvent(event: AuditEvent): Promise<void>;
}

export type Audit = (kind: AuditKind, subject: AuditSubject) => Promise<AuditId>;

/**
 * Anybody can cause refusals, of clients made up as they go, and registrations: above this many a minute, those of all
 * clients share rows.
 */
const STRANGERS_ROWS_PER_MINUTE = 100;

export function createAudit(deps: {
  readonly store: AuditStore;
  readonly log: Log;
  readonly now: Clock;
  readonly random: Randomness;
}): Audit {
  const { store, log, now, random } = deps;
  const recent = new ExpiringMap<string, AuditId>({ now, ttlMs: MINUTE, capacity: 10_000 });
  return async (kind, subject) => {
    const isCheap = isOfStrangers(kind, subject);
    if (isCheap) recent.sweep();
    const kept = isCheap ? rowOf(subject, recent.size >= STRANGERS_ROWS_PER_MINUTE) : subject;
    // The same again within a minute is logged, and shares its row: whoever quotes it, the row is true.
    const sameness = JSON.stringify([kind, kept.reason, kept.client, kept.user, kept.grant]);
    const known = isCheap ? recent.get(sameness) : undefined;
    const id = known ?? randomId<AuditId>(random, 'au_');
    log.info(kind, { audit: id, ...subject });
    if (known !== undefined) return known;
    if (isCheap) recent.set(sameness, id);
    const event: AuditEvent = { id, kind, at: now(), ...kept };
    try {
      await store.addAuditEvent(event);
    } catch (error) {
      // What happened has happened: it stands in the log, and its own answer must not be lost with the row.
      log.error('audit.lost', { audit: event.id, kind, error: describeError(error) });
    }
    return id;
  };
}

/** Whether anybody can cause it; the operator's registrations have a reason. NOTE: store/sqlite-store.ts forgets these sooner. */
function isOfStrangers(kind: AuditKind, { reason }: AuditSubject): boolean {
  return kind.endsWith('.refused') || (kind === 'client.registered' && reason === undefined);
}

/** Refused clients that are none, or of which we know nothing: their names are made up as a stranger likes. */
const MADE_UP: readonly (string | undefined)[] = ['client_unknown', 'client_document_unavailable'];

/** Without whatever a stranger can vary: what is left in a flood are as many rows as we have words. */
function rowOf(subject: AuditSubject, isFlood: boolean): AuditSubject {
  if (isFlood) return { reason: subject.reason?.split(':')[0] };
  return MADE_UP.includes(subject.reason) ? { reason: subject.reason } : subject;
}
