/** How rarely, and by how many at once, a Forgejo is asked that does not answer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { UserId } from '../../src/base/ids.js';
import { Backoff } from '../../src/identity/backoff.js';
import { type IdentityFault, isIdentityFault } from '../../src/oauth/identity.js';

const DOWN: IdentityFault = { kind: 'unreachable', detail: 'down' };
const users = Array.from({ length: 1000 }, (_, n) => `us_${n}` as UserId);
const [ann = assert.fail(), ben = assert.fail()] = users;

/** `chance`: 0 is the shortest wait, 1 the longest. */
function setUp(chance: 0 | 1) {
  let time = 0;
  const backoff = new Backoff(
    () => time,
    (size) => Buffer.alloc(size, chance * 255),
  );
  let isDown: boolean = true;
  const forgejo = { asked: 0, atOnce: 0, mostAtOnce: 0 };
  const ask = (user: UserId) =>
    backoff.ask<{ fine: true }>(user, async () => {
      forgejo.asked += 1;
      forgejo.atOnce += 1;
      forgejo.mostAtOnce = Math.max(forgejo.mostAtOnce, forgejo.atOnce);
      await turn();
      forgejo.atOnce -= 1;
      return isDown ? DOWN : { fine: true };
    });
  const waitAfter = async (user: UserId) => {
    const answer = await ask(user);
    return isIdentityFault(answer) ? answer.retryAfterMs : undefined;
  };
  const forward = (ms: number) => {
    time += ms;
  };
  const goDown = () => {
    isDown = true;
  };
  const comeBack = () => {
    isDown = false;
  };
  return { backoff, forgejo, ask, waitAfter, forward, goDown, comeBack };
}

test('a user who failed waits a second, then twice as long each time, up to a minute; an answer ends it', async () => {
  const it = setUp(1);
  const waits: unknown[] = [];
  for (let attempt = 1; attempt <= 8; attempt += 1) {
    const wait = await it.waitAfter(ann);
    waits.push(wait);
    it.forward(Number(wait) - 1);
    assert.deepEqual(it.backoff.holdsBack(ann), { ...DOWN, retryAfterMs: 1 });
    it.forward(1);
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
  it.comeBack();
  assert.equal(await it.waitAfter(ann), undefined);
  it.goDown();
  assert.equal(await it.waitAfter(ann), 1000);
});

test('chance takes up to half of a wait away', async () => {
  const it = setUp(0);
  assert.equal(await it.waitAfter(ann), 500);
});

test('a user who waits holds back nobody who is answered', async () => {
  const it = setUp(1);
  for (let attempt = 1; attempt <= 8; attempt += 1) {
    it.goDown();
    await it.ask(ann);
    it.comeBack();
    assert.deepEqual(await it.ask(ben), { fine: true });
    it.forward(60_000);
  }
});

test('a thousand users ask a Forgejo that is down a few times, and one at a time from then on', async () => {
  const it = setUp(1);
  const all = () => Promise.all(users.map(it.ask));
  for (const answer of await all()) assert.ok(isIdentityFault(answer) && answer.kind === 'unreachable');
  assert.equal(it.forgejo.asked, 3 * 8);
  for (let attempt = 1; attempt <= 10; attempt += 1) {
    it.forward(60_000);
    it.forgejo.asked = 0;
    await all();
    await all();
    assert.equal(it.forgejo.asked, 1);
  }
});

test('a thousand users do not knock over a Forgejo that has come back', async () => {
  const it = setUp(1);
  await Promise.all(users.map(it.ask));
  it.forward(60_000);
  it.comeBack();
  it.forgejo.mostAtOnce = 0;
  await Promise.all(users.map(it.ask));
  assert.equal(it.forgejo.mostAtOnce, 1, 'one goes first');
  for (const answer of await Promise.all(users.map(it.ask))) assert.deepEqual(answer, { fine: true });
  assert.equal(it.forgejo.mostAtOnce, 8);
});

test('failures that were on their way together do not count one by one', async () => {
  const it = setUp(1);
  await Promise.all(users.slice(0, 8).map(it.ask));
  it.comeBack();
  assert.deepEqual(await it.ask(users[8] ?? assert.fail()), { fine: true });
});

test('a request that throws gives its turn to the next', async () => {
  const it = setUp(1);
  const broken = () => it.backoff.ask(ann, () => Promise.reject(new Error('broken')));
  for (const { status } of await Promise.allSettled(users.slice(0, 20).map(broken)))
    assert.equal(status, 'rejected');
  it.comeBack();
  assert.deepEqual(await it.ask(ben), { fine: true });
});
