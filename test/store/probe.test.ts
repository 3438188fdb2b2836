/** A probe of the store tells the truth about the next write, and does not hold up the process to find it out. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { describe, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { openExistingSqlite, openSqlite } from '../../src/store/sqlite.js';
import { isPassingFailure } from '../../src/store/sqlite-errors.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';
import { client, nextPath, signIn } from './drivers.js';

const hasPrlimit = spawnSync('prlimit', ['--version']).status === 0;

/** No file of this process may grow past `limit` bytes: the nearest thing to a full disk that needs no disk. */
function limitFiles(limit: string): string {
  const options = ['--pid', String(process.pid), '--fsize'];
  const former = execFileSync('prlimit', [...options, '--noheadings', '--raw', '--output', 'SOFT'], {
    encoding: 'utf8',
  });
  execFileSync('prlimit', [...options.slice(0, 2), `--fsize=${limit}:`]);
  return former.trim();
}

describe('a probe of the SQLite store', () => {
  test('really writes to the file', async () => {
    const path = nextPath();
    await using store = openSqliteStore(path);
    const before = statSync(`${path}-wal`).size;
    await store.probe();
    assert.ok(statSync(`${path}-wal`).size > before);
  });

  test('changes nothing that can be read', async () => {
    const path = nextPath();
    await using store = openSqliteStore(path);
    await store.addClient(client('cl_1'));
    await store.probe();
    assert.equal((await store.findClient('cl_1'))?.id, 'cl_1');
    // The commands of the operator still know the schema.
    openExistingSqlite(path).close();
  });

  test('fails soon while another program holds the lock, and not afterwards', async () => {
    const path = nextPath();
    await using store = openSqliteStore(path);
    const other = openSqlite(path);
    other.db.run(sql`begin immediate`);
    const start = performance.now();
    await assert.rejects(store.probe(), { code: 'SQLITE_BUSY' });
    assert.ok(performance.now() - start < 4000, `${performance.now() - start} ms`);
    other.db.run(sql`rollback`);
    other.close();
    await store.probe();
  });

  test('leaves everybody else the patience to wait for a lock', () => {
    const path = nextPath();
    const opened = openSqlite(path);
    const other = openSqlite(path);
    const patience = () => opened.db.all<{ timeout: number }>(sql`pragma busy_timeout`)[0]?.timeout;
    const before = patience();
    assert.ok(before !== undefined && before >= 1000, String(before));
    opened.probe();
    assert.equal(patience(), before);
    other.db.run(sql`begin immediate`);
    assert.throws(() => opened.probe());
    assert.equal(patience(), before);
    other.close();
    opened.close();
  });

  test('fails when the disk takes nothing more, and not afterwards', { skip: !hasPrlimit }, async () => {
    await using store = openSqliteStore(nextPath());
    const former = limitFiles('4096');
    try {
      await assert.rejects(store.probe(), /disk/);
    } finally {
      limitFiles(former);
    }
    await store.probe();
  });
});

test('a sign-in that the disk does not take fails for a reason that may pass', {
  skip: !hasPrlimit,
}, async () => {
  await using store = openSqliteStore(nextPath());
  const first = signIn(1, '7');
  await store.addClient(first.client);
  const former = limitFiles('4096');
  try {
    await assert.rejects(store.recordSignIn(first), isPassingFailure);
  } finally {
    limitFiles(former);
  }
  assert.equal(await store.recordSignIn(first), first.newUserId);
});
