/** The broker ends, in whatever way, and another begins: sessions, tokens and children as real processes have them. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Client, clientOf, connect } from '../fixtures/client.js';
import { isAlive } from '../fixtures/until.js';
import { descendantsOf, survivorsOf } from '../support/processes.js';
import { startServeStage } from '../support/serve.js';
import { type KnownSession, Writers } from '../support/writers.js';

const SERVER = join(import.meta.dirname, '../fixtures/server.js');
interface Line {
  readonly method: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

const pidOf = async (client: Client): Promise<number> => (await client.call('whoami')).result.pid;

test('after SIGTERM or kill -9 every session goes on, behind it a child that knows what was settled', async () => {
  await using stage = await startServeStage();
  let broker = await stage.start();
  const token = await stage.signIn('alice');
  const [client, silent] = [await connect(stage.mcpUrl, token), await connect(stage.mcpUrl, token)];
  await client.call('logging/setLevel', { level: 'debug' });
  await client.call('resources/subscribe', { uri: 'file:///kept' });
  await client.call('resources/subscribe', { uri: 'file:///left' });
  await client.call('resources/unsubscribe', { uri: 'file:///left' });
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const child = await pidOf(client);
    const end = await broker.kill(signal);
    assert.deepEqual(end, signal === 'SIGTERM' ? { code: 0, signal: null } : { code: null, signal });
    broker = await stage.start();
    const { received } = (await client.call('received')).result;
    const lines: Line[] = received.map((line: string) => JSON.parse(line));
    assert.deepEqual(
      lines.map(({ method, params = {} }) => [method, params.level ?? params.uri ?? params.protocolVersion]),
      [
        ['initialize', '2025-11-25'],
        ['notifications/initialized', undefined],
        ['logging/setLevel', 'debug'],
        ['resources/subscribe', 'file:///kept'],
        ['received', undefined],
      ],
    );
    assert.notEqual(await pidOf(client), child);
    assert.deepEqual((await silent.call('echo', { mine: 1 })).result, { mine: 1 });
  }
});

test('after a power cut amid writing, all that a client has learned of still holds', async () => {
  await using stage = await startServeStage();
  const broker = await stage.start();
  const writers = await Writers.signIn(stage, ['alice', 'bob', 'alice']);
  let safeBytes = 0;
  await writers.write(stage.mcpUrl, (learned) => {
    safeBytes = statSync(`${stage.database}-wal`).size;
    return learned < 60;
  });
  // Not one step further: what a disk would hold if the power went now.
  process.kill(broker.pid, 'SIGSTOP');
  const { sessions } = writers;
  const database = join(stage.folder, 'after', 'broker.db');
  mkdirSync(join(stage.folder, 'after'));
  for (const end of ['', '-wal', '-shm']) copyFileSync(stage.database + end, database + end);
  // What was written since a client last heard of something may have reached the disk by half.
  const { size } = statSync(`${database}-wal`);
  assert.ok(safeBytes > 0 && safeBytes <= size);
  truncateSync(`${database}-wal`, safeBytes + Math.floor((size - safeBytes) / 2));
  await broker.kill('SIGKILL');
  await stage.start({ BROKER_DATABASE: database });
  const clientIn = ({ session, token }: KnownSession) =>
    clientOf(stage.mcpUrl, { Authorization: `Bearer ${token}`, 'Mcp-Session-Id': session });
  for (const each of sessions) assert.deepEqual((await clientIn(each).call('ping')).result, {});
  const last = sessions.at(-1) ?? assert.fail();
  assert.deepEqual((await clientIn(last).call('echo', { mine: 1 })).result, { mine: 1 });
  await writers.refreshAll();
});

test('children that neither the broker nor its guardian could end are ended by the next broker', {
  skip: process.platform !== 'linux' && 'this takes /proc',
}, async (t) => {
  const servers = {
    main: { command: process.execPath, args: [SERVER], env: { FIXTURE: 'deaf,parent' }, protocol: 'legacy' },
  };
  await using stage = await startServeStage();
  const file = join(stage.folder, 'servers.json');
  writeFileSync(file, JSON.stringify({ mcpServers: servers }));
  const env = { BROKER_SERVERS_FILE: file };
  const broker = await stage.start(env);
  const token = await stage.signIn('alice');
  const client = await connect(stage.mcpUrl, token);
  const home = (await client.call('whoami')).result.env.HOME;
  const family = descendantsOf(broker.pid);
  const guardian = family.find(({ pid }) =>
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('fjmcp-guardian'),
  );
  const orphans = family.filter(({ pid }) => pid !== guardian?.pid);
  assert.ok(guardian !== undefined && orphans.length === 2);
  t.after(async () => {
    for (const { pid } of await survivorsOf(orphans, 0)) process.kill(pid, 'SIGKILL');
  });
  process.kill(broker.pid, 'SIGSTOP');
  process.kill(guardian.pid, 'SIGKILL');
  await broker.kill('SIGKILL');
  assert.deepEqual(await survivorsOf(family, 0), orphans);
  const next = await stage.start(env);
  assert.deepEqual(await survivorsOf(family, 5000), []);
  assert.throws(() => statSync(home), { code: 'ENOENT' });
  assert.match(next.log(), /"processes":2,"event":"orphan\.ended"/);
  assert.ok(isAlive(await pidOf(client)));
});
