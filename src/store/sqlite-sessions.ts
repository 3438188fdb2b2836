/** The sessions' part of the store on SQLite. What each conversation begins with, and goes on with, is prepared once. */
import { and, eq, inArray, lt, sql } from 'drizzle-orm';
import type { SessionRecord, SessionStore } from '../backend/session-store.js';
import type { Sqlite } from './sqlite.js';
import { grants, sessions } from './sqlite.schema.js';

/** SQLite knows no offset without a limit. */
const MAX_SURPLUS = 10_000;

export function sqliteSessions(db: Sqlite): SessionStore {
  const write = <T>(body: () => T): T => db.transaction(body, { behavior: 'immediate' });
  const { grantOf, insert, removeSurplus, find, touch } = statementsOf(db);

  return {
    addSession: async (session: SessionRecord, maxPerUser: number) =>
      write(() => {
        const { userId, grantId } = session;
        if (grantOf.get({ userId, grantId }) === undefined) return false;
        insert.run({ ...session });
        removeSurplus.run({ userId, maxPerUser });
        return true;
      }),

    findSession: async (id) => find.get({ id }),

    updateSession: async (id, { logLevel, subscriptions }) => {
      db.update(sessions).set({ logLevel, subscriptions }).where(eq(sessions.id, id)).run();
    },

    touchSessions: async (seen) =>
      write(() => {
        for (const [id, seenAt] of seen) touch.run({ id, seenAt });
      }),

    removeSession: async (id) => {
      db.delete(sessions).where(eq(sessions.id, id)).run();
    },

    sweepSessions: async (seenBefore) =>
      db.delete(sessions).where(lt(sessions.seenAt, seenBefore)).run().changes,
  };
}

/** To write a statement and to have it compiled takes longer than to run it. They run within whatever transaction is open. */
function statementsOf(db: Sqlite) {
  const named = sql.placeholder;
  const surplus = db
    .select({ id: sessions.id })
    .from(sessions)
    .where(eq(sessions.userId, named('userId')))
    .orderBy(sql`${sessions.seenAt} desc`)
    .limit(MAX_SURPLUS)
    .offset(named('maxPerUser'));
  return {
    grantOf: db
      .select({ id: grants.id })
      .from(grants)
      .where(and(eq(grants.id, named('grantId')), eq(grants.userId, named('userId'))))
      .prepare(),
    insert: db
      .insert(sessions)
      .values({
        id: named('id'),
        userId: named('userId'),
        grantId: named('grantId'),
        server: named('server'),
        initialize: named('initialize'),
        logLevel: named('logLevel'),
        subscriptions: named('subscriptions'),
        seenAt: named('seenAt'),
      })
      .prepare(),
    removeSurplus: db.delete(sessions).where(inArray(sessions.id, surplus)).prepare(),
    find: db
      .select()
      .from(sessions)
      .where(eq(sessions.id, named('id')))
      .prepare(),
    touch: db
      .update(sessions)
      // Statements that change something know no placeholder by its type.
      .set({ seenAt: sql`${named('seenAt')}` })
      .where(eq(sessions.id, named('id')))
      .prepare(),
  };
}
