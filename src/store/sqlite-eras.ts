/** On SQLite, what was found out about each server. */
import { eq } from 'drizzle-orm';
import type { EraStore } from '../backend/era-store.js';
import type { Sqlite } from './sqlite.js';
import { serverEras } from './sqlite.schema.js';

export function sqliteEras(db: Sqlite): EraStore {
  return {
    findEra: async (server) => db.select().from(serverEras).where(eq(serverEras.server, server)).get(),

    saveEra: async (verdict) => {
      db.insert(serverEras)
        .values(verdict)
        .onConflictDoUpdate({ target: serverEras.server, set: verdict })
        .run();
    },
  };
}
