/** What every store driver must do for sessions. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SessionRecord } from '../../src/backend/session-store.js';
import { type GrantId, type SessionId, sha256, type UserId } from '../../src/base/ids.js';
import { client, DRIVERS, NOW, pair, type Store, signIn } from './drivers.js';

const session = (name: string, overrides: Partial<SessionRecord> = {}): SessionRecord => ({
  id: `se_${name}` as SessionId,
  userId: 'us_1' as UserId,
  grantId: 'gr_1' as GrantId,
  server: 'main',
  initialize: Buffer.from('{"jsonrpc":"2.0","id":0,"method":"initialize"}'),
  logLevel: null,
  subscriptions: [],
  seenAt: NOW,
  ...overrides,
});

for (const { name, open } of DRIVERS) {
  describe(`the ${name} store of sessions`, () => {
    async function withGrants(): Promise<Store> {
      const { store } = open();
      await store.addClient(client('cl_1'));
      await store.recordSignIn(signIn(1, '7'));
      await store.recordSignIn(signIn(2, '8'));
      return store;
    }

    test('gives a session back as it was added, and as it was changed', async () => {
      await using store = await withGrants();
      assert.equal(await store.addSession(session('a'), 10), true);
      assert.deepEqual(await store.findSession('se_a'), session('a'));
      const wishes = { logLevel: 'debug', subscriptions: ['file:///a', 'file:///b'] };
      await store.updateSession('se_a' as SessionId, wishes);
      await store.touchSessions(new Map([['se_a' as SessionId, NOW + 5]]));
      assert.deepEqual(await store.findSession('se_a'), session('a', { ...wishes, seenAt: NOW + 5 }));
      await store.removeSession('se_a' as SessionId);
      assert.equal(await store.findSession('se_a'), undefined);
    });

    test('takes no session for a grant that is gone or is somebody else’s', async () => {
      await using store = await withGrants();
      assert.equal(await store.addSession(session('a', { grantId: 'gr_9' as GrantId }), 10), false);
      assert.equal(await store.addSession(session('a', { userId: 'us_2' as UserId }), 10), false);
      assert.equal(await store.findSession('se_a'), undefined);
    });

    test('keeps the sessions of a user seen last, and leaves those of others alone', async () => {
      await using store = await withGrants();
      const other = { userId: 'us_2' as UserId, grantId: 'gr_2' as GrantId, seenAt: 1 };
      await store.addSession(session('other', other), 2);
      for (const [at, each] of ['a', 'b', 'c'].entries())
        await store.addSession(session(each, { seenAt: NOW + at }), 2);
      const kept = await Promise.all(['a', 'b', 'c', 'other'].map((each) => store.findSession(`se_${each}`)));
      assert.deepEqual(
        kept.map((found) => found?.id),
        [undefined, 'se_b', 'se_c', 'se_other'],
      );
    });

    test('forgets what was not seen for too long', async () => {
      await using store = await withGrants();
      await store.addSession(session('old'), 10);
      await store.addSession(session('new', { seenAt: NOW + 1 }), 10);
      assert.equal(await store.sweepSessions(NOW + 1), 1);
      assert.equal(await store.findSession('se_old'), undefined);
      assert.ok(await store.findSession('se_new'));
    });

    test('ends a session with its grant', async () => {
      await using store = await withGrants();
      await store.redeemCode(sha256('code 1'), pair('first'), NOW);
      await store.addSession(session('a'), 10);
      await store.revokeToken(sha256('refresh first'), client('cl_1').id);
      assert.equal(await store.findSession('se_a'), undefined);
    });
  });
}
