/** When a child gives way to the next one: as soon as there may be a better token, and never for nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { access, type Bridge, startBridge } from '../fixtures/bridge.js';
import { type Client, connect } from '../fixtures/client.js';
import { isAlive, until } from '../fixtures/until.js';

const SECOND = 1000;
const pidOf = async (client: Client): Promise<number> => (await client.call('whoami')).result.pid;
const started = ({ events }: Bridge) => events.filter(({ event }) => event === 'child.started').length;

/** A bridge whose clock stands still until it is moved, and tokens that end and go stale when the test says. */
async function setUp(staleAfterMs: number, endsAfterMs: number) {
  const clock = { now: 1_000_000 };
  const token = { freshUntil: clock.now + staleAfterMs, expiresAt: clock.now + endsAfterMs };
  const asked = { times: 0 };
  const bridge = await startBridge({
    upstream: () => {
      asked.times += 1;
      return { ...access(), ...token };
    },
    limits: { childIdleMs: 1e9, requestMs: 1e9 },
    now: () => clock.now,
  });
  const pass = (ms: number) => {
    clock.now += ms;
    bridge.sessions.tick();
  };
  const renew = () => {
    token.freshUntil = clock.now + staleAfterMs;
    token.expiresAt = clock.now + endsAfterMs;
  };
  return { bridge, asked, pass, renew, [Symbol.asyncDispose]: () => bridge[Symbol.asyncDispose]() };
}

test('a child that began late in the life of its token gives way when that token is due, not later', async () => {
  await using it = await setUp(100 * SECOND, 400 * SECOND);
  const client = await connect(it.bridge.url);
  const first = await pidOf(client);
  it.pass(99 * SECOND);
  assert.equal(await pidOf(client), first);
  assert.equal(it.asked.times, 1);
  it.renew();
  it.pass(SECOND);
  await until('the takeover', async () => (await pidOf(client)) !== first);
});

test('a child is not replaced by another with the same token', async () => {
  await using it = await setUp(100 * SECOND, 400 * SECOND);
  const client = await connect(it.bridge.url);
  const first = await pidOf(client);
  it.pass(99 * SECOND);
  // One that nobody uses would be put to sleep instead.
  assert.equal(await pidOf(client), first);
  for (let second = 0; second < 60; second += 1) {
    it.pass(SECOND);
    assert.equal(await pidOf(client), first);
  }
  assert.equal(started(it.bridge), 1);
  assert.ok(it.asked.times <= 14, `${it.asked.times} times asked for a token in a minute`);
  it.renew();
  it.pass(5 * SECOND);
  await until('the takeover', async () => (await pidOf(client)) !== first);
});

test('a third child waits for the first to finish, but not so long that the second has no time left', async () => {
  await using it = await setUp(300 * SECOND, 400 * SECOND);
  const client = await connect(it.bridge.url);
  const first = await pidOf(client);
  void client.call('hold', { count: 2 }, 'w').catch(() => undefined);
  await until('the call', () => it.bridge.sessions.counts.calls === 1);
  it.pass(300 * SECOND - 1);
  it.renew();
  it.pass(1);
  await until('the second', async () => (await pidOf(client)) !== first);
  const second = await pidOf(client);
  it.pass(300 * SECOND);
  it.renew();
  it.pass(49 * SECOND);
  assert.equal(await pidOf(client), second);
  assert.equal(started(it.bridge), 2);
  it.pass(SECOND);
  await until('the third', async () => (await pidOf(client)) !== second);
  assert.ok(isAlive(first), 'it still owes an answer');
});
