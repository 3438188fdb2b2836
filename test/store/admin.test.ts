/** What every driver of the admin port must do, on a connection of its own beside the store that serves requests. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, test } from 'node:test';
import Libsql from 'libsql';
import { DAY, MINUTE } from '../../src/base/clock.js';
import { type ClientId, type GrantId, sha256, type UserId } from '../../src/base/ids.js';
import type { AuditEvent, AuditId, AuditKind } from '../../src/oauth/audit.js';
import { openSqliteAdmin } from '../../src/store/sqlite-admin.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';
import { client, DRIVERS, NOW, nextPath, pair, signIn } from './drivers.js';

const user = (n: number) => `us_${n}` as UserId;
const grant = (n: number) => `gr_${n}` as GrantId;
const idsOf = (rows: readonly { readonly id: string }[]) => rows.map(({ id }) => id);

for (const { name, open } of DRIVERS) {
  describe(`the ${name} admin`, () => {
    /** Users 1 and 2 with a grant each for client cl_1, and user 1 with another for cl_2; all of them have tokens. */
    async function populated() {
      const { store, openAdmin } = open();
      await store.addClient({ ...client('cl_1'), secretHash: sha256('a secret'), name: 'first' });
      await store.addClient({ ...client('cl_2'), createdAt: NOW + 1, name: 'second' });
      const other = signIn(3, '1');
      await store.recordSignIn(signIn(1, '1'));
      await store.recordSignIn(signIn(2, '2'));
      await store.recordSignIn({
        ...other,
        grant: { ...other.grant, clientId: 'cl_2' as ClientId, createdAt: NOW + 1 },
      });
      for (const n of [1, 2, 3]) await store.redeemCode(sha256(`code ${n}`), pair(`${n}`), NOW);
      const admin = openAdmin();
      /** Which of the three grants still have a token that works. */
      const alive = async () => {
        const found = await Promise.all([1, 2, 3].map((n) => store.findAccessToken(sha256(`access ${n}`))));
        return found.flatMap((token) => (token === undefined ? [] : [token.grant.id]));
      };
      return {
        store,
        admin,
        alive,
        async [Symbol.asyncDispose]() {
          admin[Symbol.dispose]();
          await store[Symbol.asyncDispose]();
        },
      };
    }

    test('lists clients newest first, with the number of their grants, and no secret or hash', async () => {
      await using it = await populated();
      const listed = await it.admin.listClients();
      assert.deepEqual(listed, [
        {
          id: 'cl_2',
          kind: 'dynamic',
          name: 'second',
          redirectUris: ['https://client.example/cb'],
          authMethod: 'none',
          createdAt: NOW + 1,
          usedAt: NOW + 1,
          grants: 1,
        },
        { ...listed[0], id: 'cl_1', name: 'first', createdAt: NOW, usedAt: NOW, grants: 2 },
      ]);
      assert.deepEqual(await it.admin.findClient('cl_1'), listed[1]);
      assert.equal(await it.admin.findClient('cl_9'), undefined);
      await it.admin.addClient({ ...client('cl_3'), kind: 'registered' });
      assert.equal((await it.store.findClient('cl_3'))?.kind, 'registered', 'the broker sees it at once');
      assert.equal((await it.admin.findClient('cl_3'))?.usedAt, null);
    });

    test('lists users by name with what they have here, and finds one by id or by name in any case', async () => {
      await using it = await populated();
      const one = {
        id: 'us_1',
        issuer: 'https://forgejo.example',
        subject: '1',
        login: 'user1',
        credential: 'alive',
        grants: 2,
      };
      assert.deepEqual(await it.admin.listUsers(), [
        one,
        { ...one, id: 'us_2', subject: '2', login: 'user2', grants: 1 },
      ]);
      for (const text of ['us_1', 'user1', 'USER1']) {
        assert.deepEqual(await it.admin.findUsers(text), [one]);
      }
      assert.deepEqual(await it.admin.findUsers('user'), []);
    });

    test('finds every user of a name that two upstreams know', async () => {
      await using it = await populated();
      const identity = { issuer: 'https://other.example', subject: '9', login: 'user1' };
      await it.store.recordSignIn(signIn(4, '9', { identity }));
      assert.deepEqual(idsOf(await it.admin.findUsers('user1')), ['us_1', 'us_4']);
      assert.deepEqual(idsOf(await it.admin.findUsers('us_4')), ['us_4']);
    });

    test('lists grants newest first, of one user, of one client, or of both', async () => {
      await using it = await populated();
      const { admin } = it;
      assert.deepEqual(idsOf(await admin.listGrants({})), ['gr_3', 'gr_1', 'gr_2']);
      assert.deepEqual(idsOf(await admin.listGrants({ user: user(1) })), ['gr_3', 'gr_1']);
      assert.deepEqual(idsOf(await admin.listGrants({ client: 'cl_1' })), ['gr_1', 'gr_2']);
      assert.deepEqual(idsOf(await admin.listGrants({ user: user(2), client: 'cl_2' })), []);
      assert.deepEqual(await admin.findGrant('gr_1'), {
        ...signIn(1, '1').grant,
        userId: 'us_1',
        login: 'user1',
        clientName: 'first',
        expiresAt: NOW + 90 * DAY,
      });
      assert.equal(await admin.findGrant('gr_9'), undefined);
    });

    test('shows a grant whose code was not redeemed as one without an end', async () => {
      await using it = await populated();
      await it.store.recordSignIn(signIn(4, '1'));
      assert.equal((await it.admin.findGrant('gr_4'))?.expiresAt, null);
    });

    test('ends a grant with all its tokens at once, once, and no other grant', async () => {
      await using it = await populated();
      assert.deepEqual(await it.admin.revokeGrant(grant(1)), { ...signIn(1, '1').grant, userId: 'us_1' });
      assert.equal(await it.admin.revokeGrant(grant(1)), undefined);
      assert.deepEqual(await it.alive(), ['gr_2', 'gr_3']);
      assert.equal(await it.store.findRefreshToken(sha256('refresh 1')), undefined);
    });

    test('ends all grants of a user, and what is left of the credential is not the credential', async () => {
      await using it = await populated();
      assert.deepEqual(idsOf(await it.admin.revokeUserGrants(user(1))).toSorted(), ['gr_1', 'gr_3']);
      assert.deepEqual(await it.alive(), ['gr_2']);
      const credential = await it.store.findCredential(user(1));
      assert.equal(credential?.state, 'dead');
      assert.equal(credential?.sealed.length, 0);
      const [seen] = await it.admin.findUsers('us_1');
      assert.deepEqual([seen?.credential, seen?.grants], ['dead', 0]);
      assert.deepEqual(await it.admin.revokeUserGrants(user(1)), []);
      assert.deepEqual(await it.admin.revokeUserGrants(user(9)), []);
    });

    test('signs a user out for good although a refresh is under way, and the next sign-in wins over it', async () => {
      await using it = await populated();
      const before = await it.store.findCredential(user(1));
      assert.ok(before);
      await it.admin.revokeUserGrants(user(1));
      const late = { sealed: Buffer.from('late'), keyId: 'k1', issuedAt: NOW, expiresAt: NOW };
      assert.equal(await it.store.replaceCredential(user(1), before.version, late), false);
      assert.equal(await it.store.recordSignIn(signIn(5, '1')), 'us_1');
      assert.equal(await it.store.replaceCredential(user(1), before.version, late), false);
      assert.equal((await it.store.findCredential(user(1)))?.sealed.toString(), 'sealed 5');
    });

    test('removes a client with its grants, once', async () => {
      await using it = await populated();
      assert.deepEqual(idsOf((await it.admin.removeClient('cl_1')) ?? []).toSorted(), ['gr_1', 'gr_2']);
      assert.equal(await it.admin.removeClient('cl_1'), undefined);
      assert.equal(await it.store.findClient('cl_1'), undefined);
      assert.deepEqual(await it.alive(), ['gr_3']);
      await it.admin.addClient(client('cl_4'));
      assert.deepEqual(await it.admin.removeClient('cl_4'), []);
    });

    test('the store says which grants are gone, however many are asked for', async () => {
      await using it = await populated();
      const none = Array.from({ length: 50_000 }, (_, n) => grant(n + 1000));
      assert.deepEqual(await it.store.missingGrants([]), []);
      assert.deepEqual(await it.store.missingGrants([grant(1), grant(2), grant(3)]), []);
      await it.admin.revokeGrant(grant(2));
      assert.deepEqual(await it.store.missingGrants([grant(1), grant(2), grant(3)]), ['gr_2']);
      assert.equal((await it.store.missingGrants([grant(1), ...none])).length, none.length);
    });

    test('lists audit events newest first, narrowed by user, client, kind and time, up to a limit', async () => {
      await using it = await populated();
      const { admin } = it;
      const event = (n: number, kind: AuditKind, more: Partial<AuditEvent> = {}): AuditEvent => ({
        id: `au_${n}` as AuditId,
        kind,
        at: NOW + Math.min(n, 3) * MINUTE,
        ...more,
      });
      await it.store.addAuditEvent(event(1, 'client.registered', { client: 'cl_1' }));
      await it.store.addAuditEvent(
        event(2, 'grant.made', { user: user(1), client: 'cl_1', grant: grant(1) }),
      );
      await it.store.addAuditEvent(event(3, 'grant.made', { user: user(2), client: 'cl_1' }));
      // Of the same millisecond.
      await admin.addAuditEvent(event(4, 'grant.revoked', { user: user(1), reason: 'operator' }));
      const ids = async (filter: Parameters<typeof admin.listAudit>[0]) =>
        idsOf(await admin.listAudit(filter));
      assert.deepEqual(await ids({ limit: 10 }), ['au_4', 'au_3', 'au_2', 'au_1']);
      assert.deepEqual(await ids({ limit: 2 }), ['au_4', 'au_3']);
      assert.deepEqual(await ids({ limit: 10, user: user(1) }), ['au_4', 'au_2']);
      assert.deepEqual(await ids({ limit: 10, client: 'cl_1' }), ['au_3', 'au_2', 'au_1']);
      assert.deepEqual(await ids({ limit: 10, kind: 'grant.made' }), ['au_3', 'au_2']);
      assert.deepEqual(await ids({ limit: 10, since: NOW + 2 * MINUTE }), ['au_4', 'au_3', 'au_2']);
      assert.deepEqual(await ids({ limit: 10, since: NOW + 2 * MINUTE, user: user(2) }), ['au_3']);
      assert.deepEqual(await admin.findAuditEvent('au_2' as AuditId), {
        ...event(2, 'grant.made', { user: user(1), client: 'cl_1', grant: grant(1) }),
        reason: undefined,
        login: 'user1',
      });
      assert.equal(await admin.findAuditEvent('au_9' as AuditId), undefined);
      await admin.removeClient('cl_1');
      assert.equal((await ids({ limit: 10, client: 'cl_1' })).length, 3, 'they outlive what they speak of');
    });

    test('forgets what strangers caused after 30 days, everything else after 400', async () => {
      await using it = await populated();
      const events: readonly (readonly [kind: AuditKind, reason?: string])[] = [
        ['client.registered'],
        ['client.registered', 'operator'],
        ['token.refused', 'code_unknown'],
        ['grant.made'],
      ];
      for (const [index, [kind, reason]] of events.entries())
        await it.store.addAuditEvent({ id: `au_${index}` as AuditId, kind, at: NOW, reason });
      const left = async (now: number) => {
        await it.store.sweep(now);
        return idsOf(await it.admin.listAudit({ limit: 10 }));
      };
      assert.deepEqual(await left(NOW + 30 * DAY), ['au_3', 'au_2', 'au_1', 'au_0']);
      assert.deepEqual(await left(NOW + 30 * DAY + 1), ['au_3', 'au_1']);
      assert.deepEqual(await left(NOW + 400 * DAY), ['au_3', 'au_1']);
      assert.deepEqual(await left(NOW + 400 * DAY + 1), []);
    });
  });
}

describe('a SQLite database that no broker of this version made', () => {
  test('is refused when it is not there, and nothing is made in its place', () => {
    const path = nextPath();
    assert.throws(() => openSqliteAdmin(path), /there is no such file/);
    assert.equal(existsSync(path), false);
  });

  test('is refused when it holds something else, and is left as it is', async () => {
    const empty = nextPath();
    await openSqliteStore(nextPath())[Symbol.asyncDispose]();
    writeFileSync(empty, '');
    assert.throws(() => openSqliteAdmin(empty), /no database of this broker/);
    const text = `${dirname(empty)}/text.db`;
    writeFileSync(text, 'not a database '.repeat(100));
    assert.throws(() => openSqliteAdmin(text), /not a database/);
  });

  for (const [which, change, expected] of [
    [
      'an older',
      'delete from __drizzle_migrations where created_at = (select max(created_at) from __drizzle_migrations)',
      /older/,
    ],
    ['a newer', "insert into __drizzle_migrations (hash, created_at) values ('x', 9e12)", /newer/],
  ] as const) {
    test(`is refused when it is of ${which} version, and not migrated`, async () => {
      const path = nextPath();
      await openSqliteStore(path)[Symbol.asyncDispose]();
      const raw = new Libsql(path);
      raw.exec(change);
      assert.throws(() => openSqliteAdmin(path), expected);
      raw.close();
    });
  }
});
