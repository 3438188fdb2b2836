/** The sessions' part of the store on SQLite. */
import { and, eq, inArray, lt, sql } from 'drizzle-orm';
import type { SessionRecord, SessionStore } from '../backend/session-store.js';
import type { SessionId } from '../base/ids.js';
import type { Sqlite } from './sqlite.js';
import { grants, sessions } from './sqlite.schema.js';

/** SQLite knows no offset without a limit. */
const MAX_SURPLUS = 10_000;

export function sqliteSessions(db: Sqlite): SessionStore {
  const write = <T>(body: (tx: Pick<Sqlite, 'select' | 'insert' | 'update' | 'delete'>) => T): T =>
    db.transaction(body, { behavior: 'immediate' });

  return {
    addSession: async (session: SessionRecord, maxPerUser: number) =>
      write((tx) => {
        const { userId, grantId } = session;
        const grant = tx
          .select({ id: grants.id })
          .from(grants)
          .where(and(eq(grants.id, grantId), eq(grants.userId, userId)))
          .get();
        if (grant === undefined) return false;
        tx.insert(sessions).values(session).run();
        const tooMany = tx
          .select({ id: sessions.id })
          .from(sessions)
          .where(eq(sessions.userId, userId))
          .orderBy(sql`${sessions.seenAt} desc`)
          .limit(MAX_SURPLUS)
          .offset(maxPerUser);
        tx.delete(sessions).where(inArray(sessions.id, tooMany)).run();
        return true;
      }),

    findSession: async (id) =>
      db
        .select()
        .from(sessions)
        .where(eq(sessions.id, id as SessionId))
        .get(),

    updateSession: async (id, { logLevel, subscriptions }) => {
      db.update(sessions).set({ logLevel, subscriptions }).where(eq(sessions.id, id)).run();
    },

    touchSessions: async (seen) =>
      write((tx) => {
        for (const [id, seenAt] of seen) tx.update(sessions).set({ seenAt }).where(eq(sessions.id, id)).run();
      }),

    removeSession: async (id) => {
      db.delete(sessions).where(eq(sessions.id, id)).run();
    },

    sweepSessions: async (seenBefore) =>
      db.delete(sessions).where(lt(sessions.seenAt, seenBefore)).run().changes,
  };
}
