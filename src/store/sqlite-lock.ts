/**
 * One broker a database: sessions, pending sign-ins and caches live in its memory, and two of them would end each
 * other's. The lock is SQLite's own, on a file beside the database, so that the kernel gives it back however its holder
 * ends, and the administration commands, which do not take it, work beside the broker.
 */
import { realpathSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, createPrivately } from './sqlite.js';

/** A former process may need a moment to end: under systemd the next one starts only then, by hand perhaps before. */
const PATIENCE = { tries: 50, pauseMs: 100 };

export interface LockOptions {
  /** Told once, when somebody else holds it and we wait. */
  readonly onWait?: () => void;
  readonly patience?: typeof PATIENCE;
}

/** Holds the database at `path` until disposed of; nothing when another process, or another start in this one, holds it. */
export async function lockDatabase(
  path: string,
  { onWait, patience = PATIENCE }: LockOptions = {},
): Promise<AsyncDisposable | undefined> {
  if (path === ':memory:') return { [Symbol.asyncDispose]: async () => {} };
  // First the database: a link to one that is not there yet has no other name to be known by.
  createPrivately(path);
  const lockFile = `${realpathSync(path)}.lock`;
  createPrivately(lockFile);
  const connection = connect(lockFile);
  try {
    // A wait in SQLite would stop the whole process.
    connection.pragma('busy_timeout = 0');
    for (let left = patience.tries; ; left -= 1) {
      try {
        connection.exec('BEGIN EXCLUSIVE');
        return { [Symbol.asyncDispose]: async () => release(connection) };
      } catch (error) {
        if (!isBusy(error)) throw error;
      }
      if (left <= 1) break;
      if (left === patience.tries) onWait?.();
      await sleep(patience.pauseMs);
    }
  } catch (error) {
    connection.close();
    throw error;
  }
  connection.close();
  return undefined;
}

/** Said aloud, because libsql closes a connection when its memory is collected. */
function release(connection: ReturnType<typeof connect>): void {
  connection.exec('ROLLBACK');
  connection.close();
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('SQLITE_BUSY');
}
