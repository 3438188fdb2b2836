/**
 * `node dist/test/deploy/restart.e2e.js`: restarts again and again under load, and power cuts amid much writing; longer than
 * `npm test` may take. Prints what became of the requests.
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { clientOf, connect } from '../fixtures/client.js';
import { until } from '../fixtures/until.js';
import { callOnAndOn, inEachRequest, inSession, listening, newTally, type Tally } from '../support/load.js';
import { type ServeStage, startServeStage } from '../support/serve.js';
import { Writers } from '../support/writers.js';

const RESTARTS = 10;
/** Of each era. */
const CLIENTS = 4;
const KILLS = 5;
const CUTS = 3;
/** So many writes are some checkpoints of SQLite, and so as many new beginnings of its log. */
const WRITES = 400;
/** Longer and shorter than the silence after which a stopping broker ends a kept connection. */
const pauseMs = () => Math.random() * 400;

/** Of either era as many: half of the clients keep their connection, half of those and of the others pause between calls. */
async function underLoad(stage: ServeStage, token: string, work: (tally: Tally) => Promise<void>) {
  const tally = newTally();
  const stop = new AbortController();
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => connect(stage.mcpUrl, token)));
  const speakers = [...clients.map(inSession), ...clients.map(() => inEachRequest(token))];
  const loads = speakers.map((speaker, index) => {
    const connections = index % 2 === 0 ? 'kept' : 'fresh';
    const pause = index % 4 < 2 ? {} : { pauseMs };
    return callOnAndOn({ url: stage.mcpUrl, speaker, connections, ...pause }, tally, stop.signal);
  });
  await work(tally);
  stop.abort();
  await Promise.all(loads);
  return tally;
}

async function traffic(tally: Tally): Promise<void> {
  const enough = tally.answered + 300;
  await until('some traffic', () => tally.answered > enough, 60_000);
}

test(`${RESTARTS} restarts under load on a socket that waits fail no request of either era`, async (t) => {
  await using stage = await startServeStage({ socket: 'held' });
  let broker = await stage.start();
  const token = await stage.signIn('alice');
  const tally = await underLoad(stage, token, async (seen) => {
    for (let restart = 0; restart < RESTARTS; restart += 1) {
      await traffic(seen);
      assert.deepEqual(await broker.kill('SIGTERM'), { code: 0, signal: null });
      broker = await stage.start();
    }
    await traffic(seen);
  });
  t.diagnostic(JSON.stringify(tally));
  assert.deepEqual([tally.stopping, tally.failed], [0, []]);
  assert.ok(tally.raced <= RESTARTS / 2);
});

test(`${RESTARTS} restarts end what is listened to with a result each, and what is opened meanwhile waits`, async (t) => {
  await using stage = await startServeStage({ socket: 'held' });
  let broker = await stage.start();
  const token = await stage.signIn('alice');
  const tally = newTally();
  const stop = new AbortController();
  const options = { url: stage.mcpUrl, speaker: listening(token), connections: 'fresh' } as const;
  const listeners = Array.from({ length: CLIENTS }, () => callOnAndOn(options, tally, stop.signal));
  for (let restart = 1; restart <= RESTARTS; restart += 1) {
    await until('all listen', () => tally.begun - tally.answered === CLIENTS, 60_000);
    if (restart === RESTARTS) stop.abort();
    assert.deepEqual(await broker.kill('SIGTERM'), { code: 0, signal: null });
    broker = await stage.start();
  }
  await Promise.all(listeners);
  t.diagnostic(JSON.stringify(tally));
  assert.deepEqual([tally.answered, tally.stopping, tally.failed], [RESTARTS * CLIENTS, 0, []]);
});

test('kill -9 under load fails what was in flight, and loses no session', async (t) => {
  await using stage = await startServeStage({ socket: 'held' });
  let broker = await stage.start();
  const token = await stage.signIn('alice');
  const tally = await underLoad(stage, token, async (seen) => {
    for (let kill = 0; kill < KILLS; kill += 1) {
      await traffic(seen);
      await broker.kill('SIGKILL');
      broker = await stage.start();
    }
    await traffic(seen);
  });
  t.diagnostic(JSON.stringify({ ...tally, failed: tally.failed.length }));
  assert.ok(tally.failed.length + tally.raced <= KILLS * 2 * CLIENTS);
  for (const what of tally.failed) assert.match(what, /ECONNRESET|hang up/);
});

test('power cuts amid much writing take nothing that a client has learned of', async (t) => {
  await using stage = await startServeStage();
  let database = stage.database;
  let broker = await stage.start();
  const writers = await Writers.signIn(stage, ['alice', 'bob', 'alice', 'bob']);
  for (let cut = 1; cut <= CUTS; cut += 1) {
    await writers.write(stage.mcpUrl, (learned) => learned < WRITES + Math.random() * 50);
    process.kill(broker.pid, 'SIGSTOP');
    const next = join(stage.folder, `cut-${cut}`, 'broker.db');
    mkdirSync(join(stage.folder, `cut-${cut}`));
    for (const end of ['', '-wal', '-shm']) copyFileSync(database + end, next + end);
    await broker.kill('SIGKILL');
    database = next;
    t.diagnostic(`cut ${cut}: ${statSync(next).size} bytes, ${statSync(`${next}-wal`).size} in the log`);
    broker = await stage.start({ BROKER_DATABASE: database });
    for (const { session, token } of writers.sessions.slice(-100)) {
      const headers = { Authorization: `Bearer ${token}`, 'Mcp-Session-Id': session };
      assert.deepEqual((await clientOf(stage.mcpUrl, headers).call('ping')).result, {});
    }
    await writers.refreshAll();
  }
});
