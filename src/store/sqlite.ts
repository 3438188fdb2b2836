/**
 * Opens the SQLite file. Two drivers with one API: better-sqlite3, and libsql where the former cannot load
 * (its binary needs Node-API 10, which Node has from 22.14 on; on an older one it kills the process).
 */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Database } from 'better-sqlite3';
import { migrate } from 'drizzle-orm/better-sqlite3/migrator';
import { BetterSQLiteSession } from 'drizzle-orm/better-sqlite3/session';
import { BaseSQLiteDatabase, SQLiteSyncDialect } from 'drizzle-orm/sqlite-core';

type RunResult = { readonly changes: number };
export type Sqlite = BaseSQLiteDatabase<'sync', RunResult>;

export interface OpenedSqlite {
  readonly db: Sqlite;
  close(): void;
}

const MIGRATIONS = fileURLToPath(new URL('../../../drizzle', import.meta.url));

/** Opens (or makes, mode 0600) the database at `path` and brings it to the current schema. Throws when it cannot. */
export function openSqlite(path: string): OpenedSqlite {
  if (path !== ':memory:') {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    // Made by hand so that it is private from its first byte; SQLite gives -wal and -shm the same mode.
    closeSync(openSync(path, 'a', 0o600));
  }
  const connection = connect(path);
  for (const pragma of [
    'busy_timeout = 5000',
    'journal_mode = WAL',
    'synchronous = FULL',
    'foreign_keys = ON',
  ]) {
    connection.pragma(pragma);
  }
  const dialect = new SQLiteSyncDialect();
  const db = new BaseSQLiteDatabase(
    'sync',
    dialect,
    new BetterSQLiteSession(connection, dialect, undefined),
    undefined,
  );
  migrate(db as unknown as Parameters<typeof migrate>[0], { migrationsFolder: MIGRATIONS });
  return { db: db as unknown as Sqlite, close: () => connection.close() };
}

function connect(path: string): Database {
  const require = createRequire(import.meta.url);
  const Driver = require(chooseDriver(process.versions.napi, require.resolve)) as new (
    path: string,
  ) => Database;
  return new Driver(path);
}

/**
 * npm leaves the optional driver out where it cannot load, and whoever installed may have run another Node:
 * so both the Node-API of this one and what `resolve` finds (it throws when there is nothing) are asked.
 */
export function chooseDriver(
  napi: string | undefined,
  resolve: (name: string) => unknown,
): 'better-sqlite3' | 'libsql' {
  if (Number(napi) < 10) return 'libsql';
  try {
    resolve('better-sqlite3');
    return 'better-sqlite3';
  } catch {
    return 'libsql';
  }
}
