/** A broker that is stopped and started again on a socket that waits, as with a socket unit: what clients notice of it. */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { connect, eventsOf, JSON_TYPE, nextEvent } from '../fixtures/client.js';
import { modernClient } from '../fixtures/modern-client.js';
import { until } from '../fixtures/until.js';
import { ask } from '../support/ask.js';
import { callOnAndOn, inEachRequest, inSession, newTally } from '../support/load.js';
import { descendantsOf } from '../support/processes.js';
import { type Served, type ServeStage, startServeStage } from '../support/serve.js';

const DRAIN_SECONDS = 3;

let stage: ServeStage;
let broker: Served;
let token: string;
before(async () => {
  stage = await startServeStage({ socket: 'held', env: { BROKER_DRAIN_SECONDS: `${DRAIN_SECONDS}` } });
  broker = await stage.start();
  token = await stage.signIn('alice');
});
after(() => stage[Symbol.asyncDispose]());

test('a restart under load fails no request of either era', async (t) => {
  const tally = newTally();
  const stop = new AbortController();
  const clients = Array.from({ length: 4 }, async (_, index) => {
    const isModern = index >= 2;
    const speaker = isModern ? inEachRequest(token) : inSession(await connect(stage.mcpUrl, token));
    const connections = index % 2 === 0 ? 'kept' : 'fresh';
    await callOnAndOn({ url: stage.mcpUrl, speaker, connections }, tally, stop.signal);
  });
  const traffic = async () => {
    const enough = tally.answered + 50;
    await until('some traffic', () => tally.answered > enough, 30_000);
  };
  await traffic();
  assert.deepEqual(await broker.kill('SIGTERM'), { code: 0, signal: null });
  broker = await stage.start();
  await traffic();
  stop.abort();
  await Promise.all(clients);
  t.diagnostic(JSON.stringify(tally));
  assert.deepEqual([tally.stopping, tally.raced, tally.failed], [0, 0, []]);
});

test('a stop lets calls finish, ends streams in order, and leaves whoever is new to the next broker', async () => {
  const client = await connect(stage.mcpUrl, token);
  // Until it ends, not until it is cut.
  const stream = (await client.get()).text();
  let isLongOver = false;
  const long = client.call('later', { ms: 2000 }, 'long').finally(() => {
    isLongOver = true;
  });
  const endless = client.call('never', {}, 'endless');
  await until('the calls', async () => {
    const { received } = (await client.call('received')).result;
    return ['later', 'never'].every((method) => received.some((line: string) => line.includes(method)));
  });
  const ended = broker.kill('SIGTERM').then((end) => ({ ...end, at: Date.now() }));
  await stream;
  assert.equal(isLongOver, false);
  const body = '{"jsonrpc":"2.0","id":1,"method":"echo","params":{"mine":1}}';
  const newcomer = ask(stage.mcpUrl, 'POST', { ...client.headers, ...JSON_TYPE }, body).then((answer) => ({
    ...answer,
    at: Date.now(),
  }));
  assert.deepEqual((await long).result, { waited: 2000 });
  const { id, error } = await endless;
  assert.deepEqual([id, error?.code, error?.data?.reason], ['endless', -32603, 'stopping']);
  const end = await ended;
  assert.deepEqual([end.code, end.signal], [0, null]);
  broker = await stage.start();
  const answer = await newcomer;
  assert.deepEqual(JSON.parse(answer.body), { jsonrpc: '2.0', id: 1, result: { mine: 1 } });
  assert.ok(answer.at >= end.at);
});

test('a stop lets calls without a session finish, and ends what is listened to with a result', async () => {
  const client = modernClient(stage.mcpUrl, token);
  const events = eventsOf(
    await client.post('subscriptions/listen', { notifications: { toolsListChanged: true } }, { id: 'l' }),
  );
  assert.equal((await nextEvent(events)).method, 'notifications/subscriptions/acknowledged');
  let isLongOver = false;
  const long = client.tool('later', { ms: 2000 }).finally(() => {
    isLongOver = true;
  });
  const endless = client.tool('never', {}, { id: 'endless' });
  await until('the calls', async () => {
    const { received } = (await client.tool('received')).result;
    return ['later', 'never'].every((tool) => received.some((line: string) => line.includes(`"${tool}"`)));
  });
  const ended = broker.kill('SIGTERM');
  const { id, result } = await nextEvent(events);
  assert.deepEqual([id, result.resultType, isLongOver], ['l', 'complete', false]);
  assert.ok((await events.next()).done);
  assert.equal((await long).result.waited, 2000);
  assert.equal((await endless).error?.data?.reason, 'stopping');
  assert.deepEqual(await ended, { code: 0, signal: null });
  broker = await stage.start();
  assert.equal((await client.tool('whoami')).error, undefined);
});

test('a stop during the start takes nobody along: who waits is served by the next broker', async () => {
  await broker.kill('SIGTERM');
  stage.forgejo.faults.slow(200, '/api/v1/version');
  const asked = stage.forgejo.faults.count('/api/v1/version');
  const dying = await stage.start({}, 'no');
  const waiting = ask(`${stage.url}/.well-known/oauth-authorization-server`);
  await until('a question to Forgejo', () => stage.forgejo.faults.count('/api/v1/version') > asked);
  assert.deepEqual(await dying.kill('SIGTERM'), { code: 0, signal: null });
  assert.doesNotMatch(dying.log(), /broker\.ready/);
  stage.forgejo.faults.clear();
  broker = await stage.start();
  assert.equal((await waiting).status, 200);
});

test('no child holds the socket', { skip: process.platform !== 'linux' && 'this takes /proc' }, async () => {
  await connect(stage.mcpUrl, token);
  const socketsOf = (pid: number) =>
    readdirSync(`/proc/${pid}/fd`)
      .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
      .filter((target) => target.startsWith('socket:'));
  const listening = readlinkSync(`/proc/${broker.pid}/fd/3`);
  assert.ok(socketsOf(broker.pid).includes(listening));
  const family = descendantsOf(broker.pid);
  assert.ok(family.length >= 2);
  for (const { pid } of family) assert.ok(!socketsOf(pid).includes(listening));
});
