/** What every store driver must do, races included. A driver joins by adding a row to DRIVERS (drivers.ts). */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { DAY, MINUTE } from '../../src/base/clock.js';
import { type ClientId, sha256, type UserId } from '../../src/base/ids.js';
import type { Client } from '../../src/oauth/clients.js';
import { openSqlite } from '../../src/store/sqlite.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';
import { client, DRIVERS, NOW, nextPath, POLICY, pair, type Store, signIn } from './drivers.js';

for (const { name, open } of DRIVERS) {
  describe(`the ${name} store`, () => {
    /** A store with one client, one user, and a redeemed code whose pair is called `first`. */
    async function withTokens(): Promise<Store> {
      const { store } = open();
      await store.addClient(client('cl_1'));
      await store.recordSignIn(signIn(1, '7'));
      assert.equal(await store.redeemCode(sha256('code 1'), pair('first'), NOW), 'redeemed');
      return store;
    }
    const alive = async (store: Store, token: string) =>
      (await store.findAccessToken(sha256(`access ${token}`))) !== undefined;

    test('gives a client back as it was added', async () => {
      await using store = open().store;
      await store.addClient(client('cl_1'));
      const { usedAt, ...found } = { usedAt: null, ...(await store.findClient('cl_1')) };
      assert.deepEqual(found, client('cl_1'));
      assert.equal(usedAt, null);
      assert.equal(await store.findClient('cl_2'), undefined);
    });

    test('keeps so many clients that nobody used: the oldest makes room, unless it is younger than an hour', async () => {
      await using store = open().store;
      const unused = { most: 2, spareMs: 60 * MINUTE };
      const add = (id: string, createdAt: number, kind: Client['kind'] = 'dynamic') =>
        store.addClient({ ...client(id), kind, createdAt }, unused);
      const isThere = async (id: string) => (await store.findClient(id)) !== undefined;
      await add('cl_1', NOW - DAY);
      await store.recordSignIn(signIn(1, '7'));
      await add('cl_own', NOW - DAY, 'registered');
      await add('https://app.example/client.json', NOW - DAY, 'document');
      await add('cl_second', NOW + MINUTE);
      await add('cl_first', NOW);
      await add('cl_third', NOW + 60 * MINUTE);
      assert.ok(await isThere('cl_first'), 'an hour is not over');
      await add('cl_fourth', NOW + 61 * MINUTE);
      assert.deepEqual([await isThere('cl_first'), await isThere('cl_second')], [false, true]);
      await add('cl_fifth', NOW + 62 * MINUTE);
      assert.equal(await isThere('cl_second'), false);
      for (const kept of [
        'cl_1',
        'cl_own',
        'https://app.example/client.json',
        'cl_third',
        'cl_fourth',
        'cl_fifth',
      ])
        assert.ok(await isThere(kept), kept);
    });

    test('redeems a code once, however many ask at once, and a replay revokes what it gave', async () => {
      await using store = open().store;
      await store.addClient(client('cl_1'));
      await store.recordSignIn(signIn(1, '7'));
      const outcomes = await Promise.all(
        ['a', 'b', 'c'].map((each) => store.redeemCode(sha256('code 1'), pair(each), NOW)),
      );
      assert.equal(outcomes.filter((outcome) => outcome === 'redeemed').length, 1);
      for (const each of ['a', 'b', 'c']) assert.equal(await alive(store, each), false);
    });

    test('keeps one user and one credential for one upstream identity, and many grants', async () => {
      await using store = await withTokens();
      const again = signIn(2, '7', {
        identity: { issuer: 'https://forgejo.example', subject: '7', login: 'renamed' },
      });
      assert.equal(await store.recordSignIn(again), 'us_1');
      assert.equal(await store.recordSignIn(signIn(3, '8')), 'us_3');
      const credential = await store.findCredential('us_1' as UserId);
      assert.equal(credential?.version, 2);
      assert.equal(credential?.identity.login, 'renamed');
      assert.equal(credential?.sealed.toString(), 'sealed 2');
      assert.equal(await alive(store, 'first'), true);
    });

    test('tells refresh tokens from access tokens', async () => {
      await using store = await withTokens();
      assert.equal(await store.findAccessToken(sha256('refresh first')), undefined);
      assert.equal(await store.findRefreshToken(sha256('access first')), undefined);
      assert.equal((await store.findRefreshToken(sha256('refresh first')))?.grant.userId, 'us_1');
    });

    test('rotates again within the grace time, up to the cap, and keeps the family when over it', async () => {
      await using store = await withTokens();
      const rotate = (next: string, now: number) =>
        store.rotateRefreshToken(sha256('refresh first'), pair(next), now, POLICY);
      assert.equal(await rotate('r1', NOW), 'rotated');
      assert.equal(await store.rotateRefreshToken(sha256('refresh r1'), pair('r1b'), NOW, POLICY), 'rotated');
      assert.equal(await rotate('r2', NOW + MINUTE), 'rotated');
      assert.equal(await rotate('r3', NOW + MINUTE), 'rotated');
      assert.equal(await rotate('r4', NOW + MINUTE), 'over_cap');
      for (const each of ['first', 'r1', 'r2', 'r3']) assert.equal(await alive(store, each), true);
      assert.equal(await alive(store, 'r4'), false);
    });

    test('rotates again at any time while no successor was used: the answer may have been lost', async () => {
      await using store = await withTokens();
      const rotate = (next: string, now: number) =>
        store.rotateRefreshToken(sha256('refresh first'), pair(next, now), now, POLICY);
      assert.equal(await rotate('lost', NOW), 'rotated');
      assert.equal(await rotate('again', NOW + DAY), 'rotated');
    });

    test('revokes the whole grant when a token is used long after its successor', async () => {
      await using store = await withTokens();
      const rotate = (from: string, to: string, now: number) =>
        store.rotateRefreshToken(sha256(`refresh ${from}`), pair(to, now), now, POLICY);
      assert.equal(await rotate('first', 'second', NOW), 'rotated');
      assert.equal(await rotate('second', 'third', NOW + MINUTE), 'rotated');
      assert.equal(await rotate('first', 'stolen', NOW + 10 * MINUTE), 'reused');
      for (const each of ['first', 'second', 'third', 'stolen'])
        assert.equal(await alive(store, each), false);
      assert.equal(await rotate('third', 'fourth', NOW + 10 * MINUTE), 'gone');
    });

    test('lets a client revoke its own tokens only', async () => {
      await using store = await withTokens();
      await store.addClient(client('cl_2'));
      assert.equal(await store.revokeToken(sha256('refresh first'), 'cl_2' as ClientId), undefined);
      assert.equal(await alive(store, 'first'), true);
      const revoke = (token: string) => store.revokeToken(sha256(token), 'cl_1' as ClientId);
      assert.deepEqual(await revoke('access first'), { kind: 'access', grant: 'gr_1' });
      assert.equal(await revoke('access first'), undefined);
      assert.equal(await alive(store, 'first'), false);
      assert.deepEqual(await revoke('refresh first'), { kind: 'refresh', grant: 'gr_1' });
      assert.equal(await store.findRefreshToken(sha256('refresh first')), undefined);
      assert.equal(await revoke('refresh first'), undefined);
    });

    test('keeps the later of two upstream pairs, whichever sign-in ends first', async () => {
      await using store = await withTokens();
      const at = (issuedAt: number) => ({
        sealed: Buffer.from(`at ${issuedAt}`),
        keyId: 'k1',
        expiresAt: NOW,
        issuedAt,
      });
      const sealed = async () => (await store.findCredential('us_1' as UserId))?.sealed.toString();
      await store.recordSignIn(signIn(2, '7', { credential: at(NOW + 2) }));
      await store.recordSignIn(signIn(3, '7', { credential: at(NOW + 1) }));
      assert.equal(await sealed(), `at ${NOW + 2}`);
      await store.retireCredential('us_1' as UserId, 2);
      await store.recordSignIn(signIn(4, '7', { credential: at(NOW + 1) }));
      assert.equal(await sealed(), `at ${NOW + 1}`);
    });

    test('keeps the upstream pair of a sign-in that came to nothing, for users it knows', async () => {
      await using store = await withTokens();
      const { identity } = signIn(1, '7');
      const later = { sealed: Buffer.from('later'), keyId: 'k1', expiresAt: NOW, issuedAt: NOW + 1 };
      await store.keepCredential(identity, later);
      assert.equal((await store.findCredential('us_1' as UserId))?.sealed.toString(), 'later');
      await store.keepCredential({ ...identity, subject: 'stranger' }, later);
      const gone = { ...client('cl_gone') };
      const lost = signIn(5, '7', {
        client: gone,
        credential: { ...later, sealed: Buffer.from('last'), issuedAt: NOW + 2 },
      });
      assert.equal(await store.recordSignIn(lost), undefined);
      assert.equal((await store.findCredential('us_1' as UserId))?.sealed.toString(), 'last');
    });

    test('replaces or retires a credential only at the version it was read at', async () => {
      await using store = await withTokens();
      const user = 'us_1' as UserId;
      const next = { sealed: Buffer.from('next'), keyId: 'k2', issuedAt: NOW, expiresAt: NOW };
      const won = await Promise.all([1, 1, 1].map((version) => store.replaceCredential(user, version, next)));
      assert.deepEqual(won.toSorted(), [false, false, true]);
      assert.equal(await store.retireCredential(user, 1), false);
      assert.equal(await store.retireCredential(user, 2), true);
      assert.equal((await store.findAccessToken(sha256('access first')))?.credential, 'dead');
      await store.recordSignIn(signIn(2, '7'));
      assert.equal((await store.findAccessToken(sha256('access first')))?.credential, 'alive');
    });

    test('bars a user at the version it was read at: credential and grants end together, and a sign-in begins anew', async () => {
      await using store = await withTokens();
      const user = 'us_1' as UserId;
      await store.recordSignIn(signIn(2, '8'));
      assert.equal(await store.barUser(user, 2), undefined);
      assert.equal(await alive(store, 'first'), true);
      const outcomes = await Promise.all([store.barUser(user, 1), store.barUser(user, 1)]);
      assert.deepEqual(
        outcomes.map((ended) => ended?.map(({ id }) => id)),
        [['gr_1'], undefined],
      );
      assert.equal(await alive(store, 'first'), false);
      assert.equal(await store.findRefreshToken(sha256('refresh first')), undefined);
      const { sealed, state } = (await store.findCredential(user)) ?? assert.fail();
      assert.deepEqual([sealed.length, state], [0, 'dead']);
      assert.equal((await store.findCredential('us_2' as UserId))?.state, 'alive');
      await store.recordSignIn(signIn(3, '7'));
      assert.equal((await store.findCredential(user))?.state, 'alive');
    });

    test('takes a pair at its version though the credential was thought dead: it has just been received', async () => {
      await using store = await withTokens();
      const user = 'us_1' as UserId;
      const next = { sealed: Buffer.from('next'), keyId: 'k2', issuedAt: NOW, expiresAt: NOW };
      assert.equal(await store.retireCredential(user, 1), true);
      assert.equal(await store.replaceCredential(user, 1, next), true);
      assert.equal((await store.findCredential(user))?.state, 'alive');
    });

    test('sweeps what is expired or abandoned, and nothing that lives', async () => {
      await using store = await withTokens();
      await store.addClient(client('cl_idle'));
      await store.addClient({ ...client('cl_new'), createdAt: NOW + DAY });
      await store.recordSignIn(signIn(2, '8'));
      assert.ok((await store.sweep(NOW + DAY + MINUTE)) > 0);
      assert.equal(await store.findClient('cl_idle'), undefined);
      assert.ok(await store.findClient('cl_new'));
      assert.ok(await store.findRefreshToken(sha256('refresh first')));
      assert.equal(await alive(store, 'first'), false);
      await store.sweep(NOW + 200 * DAY);
      assert.equal(await store.findRefreshToken(sha256('refresh first')), undefined);
      assert.equal(await store.findClient('cl_1'), undefined);
    });
  });
}

test('the SQLite file and its folder are private', async () => {
  const path = nextPath();
  await using _store = openSqliteStore(path);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(`${path}-wal`).mode & 0o777, 0o600);
  assert.equal(statSync(dirname(path)).mode & 0o777, 0o700);
});

test('what was written is there when the SQLite file is opened again', async () => {
  const path = nextPath();
  {
    await using store = openSqliteStore(path);
    await store.addClient(client('cl_1'));
  }
  await using store = openSqliteStore(path);
  assert.ok(await store.findClient('cl_1'));
});

test('of the clients that nobody used 20,000 are kept', async () => {
  const path = nextPath();
  await using store = openSqliteStore(path);
  const { db, close } = openSqlite(path);
  await store.addClient(client('cl_0'));
  db.run(sql`with recursive n(value) as (select 1 union all select value + 1 from n where value < 19998)
    insert into clients (id, kind, name, redirect_uris, auth_method, grant_types, created_at)
    select 'cl_' || value, kind, name, redirect_uris, auth_method, grant_types, created_at + value from clients, n`);
  close();
  await store.addClient({ ...client('cl_19999'), createdAt: NOW + DAY });
  assert.ok(await store.findClient('cl_0'));
  await store.addClient({ ...client('cl_20000'), createdAt: NOW + DAY });
  assert.equal(await store.findClient('cl_0'), undefined);
  assert.ok(await store.findClient('cl_1'));
});

test('SQLite writes through to the disk, ahead of its log, and holds its references', () => {
  const { db, close } = openSqlite(nextPath());
  const pragma = (name: string) =>
    Object.values(db.get<Record<string, unknown>>(sql.raw(`pragma ${name}`)) ?? {})[0];
  assert.equal(pragma('journal_mode'), 'wal');
  assert.equal(pragma('synchronous'), 2);
  assert.equal(pragma('foreign_keys'), 1);
  close();
});
