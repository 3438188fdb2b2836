/** One broker a database: with real processes, because it is the kernel that must give the lock back. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { openSqlite } from '../../src/store/sqlite.js';
import { lockDatabase } from '../../src/store/sqlite-lock.js';
import { type Command, runCommand, startCommand, type Variables } from '../support/command.js';

const folder = mkdtempSync(join(tmpdir(), 'fjmcp-lock-'));
const started: Command[] = [];
after(() => {
  for (const command of started) command.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});
let databases = 0;
const nextPath = () => join(folder, `${databases++}/broker.db`);

/** All that `serve` needs, with a Forgejo that does not answer. */
const serving = (database: string): Variables => ({
  BROKER_PUBLIC_URL: 'https://mcp.example.org',
  BROKER_LISTEN: '127.0.0.1:0',
  BROKER_DATABASE: database,
  BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
  BROKER_MCP_COMMAND: process.execPath,
  FORGEJO_URL: 'http://127.0.0.1:1',
  FORGEJO_CLIENT_ID: 'id',
  FORGEJO_CLIENT_SECRET: 'secret',
});

function start(database: string, more: Variables = {}): Command {
  const broker = startCommand(['serve'], { ...serving(database), ...more });
  started.push(broker);
  return broker;
}

async function startServing(database: string): Promise<Command> {
  const broker = start(database);
  await broker.written(/broker\.ready/, 'stderr');
  return broker;
}

const ONCE = { patience: { tries: 1, pauseMs: 0 } };

describe('a second broker on a database', () => {
  test('is refused in a line, harms nothing, and the administration works beside the first', async () => {
    const database = nextPath();
    const first = await startServing(database);
    const second = start(database, { BROKER_LOG_LEVEL: 'error' });
    const clients = await runCommand(['clients', 'list'], { BROKER_DATABASE: database });
    await second.written(/another broker/, 'stderr');
    assert.equal((await second.ended).code, 1);
    assert.match(second.stderr, /^fjmcp-broker: BROKER_DATABASE: another broker runs on .+broker\.db;.*\n$/);
    assert.deepEqual([clients.code, clients.stderr], [0, '']);
    assert.equal(first.hasEnded, false);
    first.kill('SIGTERM');
    assert.equal((await first.ended).code, 0);
  });

  test('starts at once when the first was killed', async () => {
    const database = nextPath();
    const first = await startServing(database);
    first.kill('SIGKILL');
    await first.ended;
    const second = await startServing(database);
    second.kill('SIGTERM');
    assert.equal((await second.ended).code, 0);
  });

  test('waits for the first to end', async () => {
    const database = nextPath();
    const first = await startServing(database);
    const second = start(database);
    await second.written(/database\.held/, 'stderr');
    first.kill('SIGTERM');
    await second.written(/broker\.ready/, 'stderr');
    assert.ok(first.hasEnded);
    second.kill('SIGTERM');
    assert.equal((await second.ended).code, 0);
  });
});

describe('the lock', () => {
  test('is held once, in one process too, and given back when disposed of', async () => {
    const path = nextPath();
    {
      await using held = await lockDatabase(path, ONCE);
      assert.ok(held);
      assert.equal(await lockDatabase(path, ONCE), undefined);
    }
    await using again = await lockDatabase(path, ONCE);
    assert.ok(again);
  });

  test('outlives a try to take it by its own process, for others too', async () => {
    const path = nextPath();
    await using held = await lockDatabase(path, ONCE);
    assert.ok(held);
    assert.equal(await lockDatabase(path, ONCE), undefined);
    const other = start(path);
    const [said] = await other.written(/another broker runs|broker\.ready/, 'stderr');
    other.kill('SIGKILL');
    assert.equal(said, 'another broker runs');
  });

  test('is of the file, not of the name: a link to the database leads to the same lock', async () => {
    const path = nextPath();
    await using held = await lockDatabase(path, ONCE);
    assert.ok(held);
    openSqlite(path).close();
    mkdirSync(join(folder, 'links'));
    symlinkSync(path, join(folder, 'links/broker.db'));
    symlinkSync(join(path, '..'), join(folder, 'links/folder'));
    for (const other of ['links/broker.db', 'links/folder/broker.db'])
      assert.equal(await lockDatabase(join(folder, other), ONCE), undefined, other);
  });

  test('is the same through a link to a database that is not there yet, and the database is private', async () => {
    const path = nextPath();
    mkdirSync(join(path, '..'));
    const link = `${path}.link`;
    symlinkSync(path, link);
    await using held = await lockDatabase(link, ONCE);
    assert.ok(held);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    for (const other of [path, link]) assert.equal(await lockDatabase(other, ONCE), undefined, other);
  });

  test('leaves the database itself free, and its file is private', async () => {
    const path = nextPath();
    await using held = await lockDatabase(path, ONCE);
    assert.ok(held);
    openSqlite(path).close();
    assert.equal(statSync(`${path}.lock`).mode & 0o777, 0o600);
  });

  test('is not needed in memory, where nobody shares anything', async () => {
    await using first = await lockDatabase(':memory:', ONCE);
    await using second = await lockDatabase(':memory:', ONCE);
    assert.ok(first && second);
  });
});
