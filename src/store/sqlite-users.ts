/** The end of all that a user allowed: the operator's doing, or Forgejo's. */
import { and, eq, sql } from 'drizzle-orm';
import type { UserId } from '../base/ids.js';
import type { Grant } from '../oauth/ports.js';
import type { Sqlite } from './sqlite.js';
import { credentials, grants } from './sqlite.schema.js';

/**
 * The row of the credential stays, empty and at its next version: a refresh that is under way in the broker finds a
 * version it does not know and is dropped, also when the user signs in again meanwhile. Nothing is done when the credential
 * is not at `version`, if one is given.
 */
export function endUser(db: Sqlite, id: UserId, version?: number): readonly Grant[] | undefined {
  return db.transaction(
    (tx) => {
      const { changes } = tx
        .update(credentials)
        .set({ sealed: Buffer.alloc(0), state: 'dead', version: sql`${credentials.version} + 1` })
        .where(
          and(
            eq(credentials.userId, id),
            version === undefined ? undefined : eq(credentials.version, version),
          ),
        )
        .run();
      if (version !== undefined && changes === 0) return undefined;
      return tx.delete(grants).where(eq(grants.userId, id)).returning().all();
    },
    { behavior: 'immediate' },
  );
}
