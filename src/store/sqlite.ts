/**
 * Opens the SQLite file. Two drivers with one API: better-sqlite3, and libsql where the former cannot load
 * (its binary needs Node-API 10, which Node has from 22.14 on; on an older one it kills the process).
 */
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Database } from 'better-sqlite3';
import { sql } from 'drizzle-orm';
import { migrate } from 'drizzle-orm/better-sqlite3/migrator';
import { BetterSQLiteSession } from 'drizzle-orm/better-sqlite3/session';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { BaseSQLiteDatabase, SQLiteSyncDialect } from 'drizzle-orm/sqlite-core';

type RunResult = { readonly changes: number };
export type Sqlite = BaseSQLiteDatabase<'sync', RunResult>;

/** Numbers that change whenever what is stored does; they mean nothing else. */
export interface ChangeCounters {
  /** By this connection. */
  own(): number;
  /** By any other, of this process or not. */
  others(): number;
}

export interface OpenedSqlite {
  readonly db: Sqlite;
  readonly changes: ChangeCounters;
  /** Writes one page that changes nothing; throws when it cannot. */
  probe(): void;
  close(): void;
}

const require = createRequire(import.meta.url);
const MIGRATIONS = fileURLToPath(new URL('../../../drizzle', import.meta.url));

const BUSY_MS = 5000;
/** While we wait for a lock the whole process does, and a probe is worth no more than this. */
const PROBE_BUSY_MS = 100;

/** Opens (or makes, mode 0600) the database at `path` and brings it to the current schema. Throws when it cannot. */
export function openSqlite(path: string): OpenedSqlite {
  if (path !== ':memory:') createPrivately(path);
  const opened = open(path);
  opened.connection.pragma('journal_mode = WAL');
  migrate(opened.db as unknown as Parameters<typeof migrate>[0], { migrationsFolder: MIGRATIONS });
  return opened;
}

/**
 * Makes the file by hand, so that it is private from its first byte; SQLite gives -wal and -shm the same mode. One that
 * is there is not opened: to close it would give back every lock that this process has on it.
 */
export function createPrivately(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600));
}

/**
 * Opens a database that a broker made, beside that broker. Never makes or migrates one: under a broker that runs, the
 * schema must not change. Throws when there is none, or one of another version.
 */
export function openExistingSqlite(path: string): OpenedSqlite {
  if (!existsSync(path)) throw new Error('there is no such file');
  const opened = open(path);
  try {
    checkSchema(opened.db);
    return opened;
  } catch (error) {
    opened.close();
    throw error;
  }
}

function checkSchema(db: Sqlite): void {
  const [table] = db.all(sql`select 1 from sqlite_master where name = '__drizzle_migrations'`);
  if (table === undefined) throw new Error('it is no database of this broker');
  const [last] = db.all<{ at: number | null }>(sql`select max(created_at) as at from __drizzle_migrations`);
  const ours = readMigrationFiles({ migrationsFolder: MIGRATIONS }).at(-1)?.folderMillis ?? 0;
  const theirs = Number(last?.at ?? 0);
  if (theirs < ours)
    throw new Error('it is of an older version; start the broker once to bring it up to date');
  if (theirs > ours) throw new Error('it is of a newer version than this program');
}

function open(path: string): OpenedSqlite & { readonly connection: Database } {
  const connection = connect(path);
  for (const pragma of [`busy_timeout = ${BUSY_MS}`, 'synchronous = FULL', 'foreign_keys = ON']) {
    connection.pragma(pragma);
  }
  const dialect = new SQLiteSyncDialect();
  let writes = 0;
  // Sees every statement before it runs, and what is no reading may be a change.
  const logger = {
    logQuery: (query: string) => {
      if (!query.startsWith('select')) writes += 1;
    },
  };
  const session = new BetterSQLiteSession(connection, dialect, undefined, { logger });
  const db = new BaseSQLiteDatabase('sync', dialect, session, undefined);
  const probe = () => {
    connection.exec(`pragma busy_timeout = ${PROBE_BUSY_MS}`);
    try {
      // A number that nobody reads. An UPDATE to the same value would be left out, a rollback never reaches the disk.
      connection.exec('pragma user_version = 0');
    } finally {
      connection.exec(`pragma busy_timeout = ${BUSY_MS}`);
    }
  };
  const version = connection.prepare<[], [number]>('pragma data_version').raw(true);
  return {
    connection,
    db: db as unknown as Sqlite,
    changes: { own: () => writes, others: () => version.get()?.[0] ?? 0 },
    probe,
    close: () => connection.close(),
  };
}

/** A connection to `path` with the settings that SQLite has by default. */
export function connect(path: string): Database {
  const driver = sqliteDriver();
  const Driver = require(driver) as new (path: string) => Database;
  const connection = new Driver(path);
  if (driver === 'libsql') keepReasons(connection);
  return connection;
}

/**
 * Out of space, SQLite rolls back by itself. libsql rolls back once more, and the complaint about that would be all that we
 * hear of it.
 */
function keepReasons(connection: Database): void {
  const exec = connection.exec.bind(connection);
  connection.exec = (source) =>
    source === 'ROLLBACK' && !connection.inTransaction ? connection : exec(source);
}

/** The driver that is loaded here. */
export function sqliteDriver(): 'better-sqlite3' | 'libsql' {
  return chooseDriver(process.versions.napi, require.resolve);
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
