/** A Forgejo that is down, slow, or bars somebody; and two brokers on one database. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { MINUTE, SECOND } from '../../src/base/clock.js';
import type { GrantId } from '../../src/base/ids.js';
import { isIdentityFault } from '../../src/oauth/identity.js';
import { openSqliteAdmin } from '../../src/store/sqlite-admin.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';
import { until } from '../fixtures/until.js';
import { setUpCredentials, USER } from '../support/credentials.js';

describe('a Forgejo that does not answer', () => {
  test('is asked about a user twice a minute at most, and every caller hears at once when to come back', async () => {
    await using it = await setUpCredentials();
    it.forward(60 * MINUTE);
    let attempts = 0;
    for (let second = 0; second < 3600; second += 1) {
      const asking = it.credentials.fresh(USER);
      // The store answers in this turn, and Forgejo would be asked in it.
      await turn();
      attempts += it.upstream.asked.length;
      it.upstream.fail('unreachable');
      const fault = await asking;
      assert.ok(isIdentityFault(fault) && fault.kind === 'unreachable');
      const { retryAfterMs = 0 } = fault;
      assert.ok(retryAfterMs > 0 && retryAfterMs <= MINUTE, `${retryAfterMs} ms`);
      it.forward(SECOND);
    }
    assert.ok(attempts >= 60 && attempts <= 130, `${attempts} attempts`);
    assert.equal((await it.store.findCredential(USER))?.state, 'alive');
    it.forward(MINUTE);
    const reading = it.read();
    await it.untilAsked();
    it.upstream.answer('second');
    assert.equal(await reading, 'access second');
  });

  test('in time is asked no second time while it may still answer, and its answer counts', async () => {
    await using it = await setUpCredentials({ patienceMs: 20 });
    it.forward(60 * MINUTE);
    const slow = [it.read(), it.read()];
    await it.untilAsked();
    assert.deepEqual(await Promise.all(slow), ['unreachable', 'unreachable']);
    it.forward(MINUTE);
    assert.equal(await it.read(), 'unreachable');
    assert.equal(it.upstream.asked.length, 1);
    it.upstream.answer('second');
    await until('it was stored', async () => (await it.store.findCredential(USER))?.version === 2);
    await until('it is used', async () => (await it.read()) === 'access second');
    assert.deepEqual(it.upstream.asked, []);
    assert.ok(it.logged.includes('credential.refresh_slow'));
  });

  test('in time leaves a token that still lives in use', async () => {
    await using it = await setUpCredentials({ patienceMs: 20 });
    it.forward(56 * MINUTE);
    assert.equal(await it.read(), 'access first');
    assert.equal(await it.read(), 'access first');
    it.forward(4 * MINUTE);
    assert.equal(await it.read(), 'unreachable');
    assert.equal(it.upstream.asked.length, 1);
  });

  test('yet is waited for when the broker stops: what it answers would be lost', async () => {
    await using it = await setUpCredentials();
    it.forward(56 * MINUTE);
    void it.read();
    await it.untilAsked();
    const stopping = it.credentials[Symbol.asyncDispose]();
    await turn();
    it.upstream.answer('second');
    await stopping;
    assert.equal((await it.store.findCredential(USER))?.version, 2);
  });

  test('at all does not keep the broker from stopping', async () => {
    await using it = await setUpCredentials({ patienceMs: 20 });
    it.forward(56 * MINUTE);
    void it.read();
    await it.untilAsked();
    await it.credentials[Symbol.asyncDispose]();
  });
});

describe('an account that may not be used any more', () => {
  for (const kind of ['barred', 'not_allowed'] as const) {
    test(`(${kind}) loses its grants and its credential in one step, and there are events for it`, async () => {
      await using it = await setUpCredentials();
      await it.signIn(2, 'access first');
      it.forward(56 * MINUTE);
      it.upstream.say(kind);
      const reading = it.read();
      await it.untilAsked();
      it.upstream.answer('second');
      assert.equal(await reading, kind);
      const grants = ['gr_1', 'gr_2'] as GrantId[];
      assert.deepEqual(await it.store.missingGrants(grants), grants);
      assert.equal((await it.store.findCredential(USER))?.sealed.length, 0);
      assert.deepEqual(it.signedOut, [kind]);
      using admin = openSqliteAdmin(it.database);
      const events = await admin.listAudit({ user: USER, limit: 10 });
      assert.deepEqual(
        events.map((event) => [event.kind, event.grant, event.client, event.reason]).toReversed(),
        [
          ['user.revoked', undefined, undefined, kind],
          ...grants.map((grant) => ['grant.revoked', grant, 'cl_1', kind]),
        ],
      );
    });
  }

  test('is found out later when Forgejo does not say so at once', async () => {
    await using it = await setUpCredentials();
    it.forward(56 * MINUTE);
    it.upstream.say('unreachable');
    const reading = it.read();
    await it.untilAsked();
    it.upstream.answer('second');
    assert.equal(await reading, 'access second');
    it.upstream.say('barred');
    assert.equal(await it.read(), 'access second', 'not asked again at once');
    it.forward(SECOND);
    assert.equal(await it.read(), 'barred');
    assert.deepEqual(await it.store.missingGrants(['gr_1' as GrantId]), ['gr_1']);
  });

  test('is not taken for barred by anything else that Forgejo says after a refresh', async () => {
    for (const kind of ['unreachable', 'misconfigured', 'scope_conflict', 'signed_out'] as const) {
      await using it = await setUpCredentials();
      it.forward(56 * MINUTE);
      it.upstream.say(kind);
      const reading = it.read();
      await it.untilAsked();
      it.upstream.answer('second');
      assert.equal(await reading, 'access second');
      assert.deepEqual(await it.store.missingGrants(['gr_1' as GrantId]), []);
    }
  });
});

describe('two brokers on one database that refresh at once', () => {
  async function setUp() {
    const it = await setUpCredentials();
    const store = openSqliteStore(it.database);
    const other = it.createCredentials(store);
    it.forward(56 * MINUTE);
    const winning = it.read();
    await it.untilAsked(1);
    const losing = it.read(other);
    await it.untilAsked(2);
    /** Forgejo tells the second that its refresh token was used already. */
    const refuseLoser = () =>
      it.upstream.asked.splice(-1)[0]?.({ kind: 'signed_out', detail: 'already used' });
    return {
      ...it,
      other,
      winning,
      losing,
      refuseLoser,
      async [Symbol.asyncDispose]() {
        await store[Symbol.asyncDispose]();
        await it[Symbol.asyncDispose]();
      },
    };
  }

  test('have one pair: who comes second reads what the first stored', async () => {
    await using it = await setUp();
    it.upstream.answer('second');
    assert.equal(await it.winning, 'access second');
    it.refuseLoser();
    assert.equal(await it.losing, 'access second');
    assert.deepEqual(it.signedOut, []);
  });

  test('have one pair also when the loser is refused before the winner could store it', async () => {
    await using it = await setUp();
    it.refuseLoser();
    await turn();
    it.upstream.answer('second');
    assert.equal(await it.winning, 'access second');
    assert.equal(await it.losing, 'access second');
    assert.deepEqual(it.signedOut, []);
    assert.equal((await it.store.findCredential(USER))?.version, 2);
  });

  test('have one pair in the end, however long the winner waits for its answer', async () => {
    await using it = await setUp();
    it.refuseLoser();
    assert.equal(await it.losing, 'signed_out');
    it.upstream.answer('second');
    assert.equal(await it.winning, 'access second');
    assert.equal(await it.read(it.other), 'access second');
  });
});
