/** A broker that is stopped and started again on a socket that waits: what clients notice of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from '../fixtures/client.js';
import { until } from '../fixtures/until.js';
import { callOnAndOn, type Tally } from '../support/load.js';
import { startServeStage } from '../support/serve.js';

const RESTARTS = 2;
const CLIENTS = 8;

test('restarts under load fail no request', async (t) => {
  await using stage = await startServeStage({ socket: 'held' });
  let broker = await stage.start();
  const token = await stage.signIn('alice');
  const tally: Tally = { answered: 0, stopping: 0, failed: [] };
  const stop = new AbortController();
  const clients = Array.from({ length: CLIENTS }, async (_, index) => {
    const client = await connect(stage.mcpUrl, token);
    const connections = index % 2 === 0 ? 'kept' : 'fresh';
    await callOnAndOn({ url: stage.mcpUrl, client, connections }, tally, stop.signal);
  });
  for (let restarts = 0; restarts < RESTARTS; restarts += 1) {
    const before = tally.answered;
    await until('some traffic', () => tally.answered > before + 200);
    assert.deepEqual(await broker.kill('SIGTERM'), { code: 0, signal: null });
    broker = await stage.start();
  }
  const before = tally.answered;
  await until('some traffic', () => tally.answered > before + 200);
  stop.abort();
  await Promise.all(clients);
  t.diagnostic(JSON.stringify({ restarts: RESTARTS, ...tally }));
  assert.deepEqual([tally.stopping, tally.failed], [0, []]);
});
