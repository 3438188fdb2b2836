/** What the store remembers of access tokens is never older than the database, whoever changed that. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { type ClientId, type GrantId, sha256, type UserId } from '../../src/base/ids.js';
import { connect, sqliteDriver } from '../../src/store/sqlite.js';
import { openSqliteAdmin } from '../../src/store/sqlite-admin.js';
import { remembering } from '../../src/store/sqlite-memory.js';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.js';
import { until } from '../fixtures/until.js';
import { client, NOW, nextPath, POLICY, pair, signIn } from './drivers.js';

const TOKEN = sha256('access first');

describe('a remembering query', () => {
  function counted() {
    const changes = { ownCount: 0, othersCount: 0, looks: 0, elapsedMs: 0 };
    let asked = 0;
    const find = remembering(
      (key: string) => {
        asked += 1;
        return key === 'nothing' ? undefined : `${key} ${asked}`;
      },
      {
        own: () => changes.ownCount,
        others: () => {
          changes.looks += 1;
          return changes.othersCount;
        },
      },
      () => changes.elapsedMs,
    );
    return { find, changes, asked: () => asked };
  }

  test('is not asked again while nothing changed, however long', () => {
    const { find, changes, asked } = counted();
    for (let turn = 0; turn < 3; turn += 1) {
      assert.equal(find('a'), 'a 1');
      changes.elapsedMs += 1000;
    }
    assert.equal(asked(), 1);
  });

  test('is asked again as soon as we changed something', () => {
    const { find, changes } = counted();
    find('a');
    changes.ownCount += 1;
    assert.equal(find('a'), 'a 2');
  });

  test('looks every few milliseconds whether another changed something', () => {
    const { find, changes } = counted();
    find('a');
    const before = changes.looks;
    changes.othersCount += 1;
    changes.elapsedMs += 4;
    assert.equal(find('a'), 'a 1');
    changes.elapsedMs += 1;
    assert.equal(find('a'), 'a 2');
    assert.equal(changes.looks, before + 1);
  });

  test('remembers nothing of what is not there', () => {
    const { find, asked } = counted();
    find('nothing');
    find('nothing');
    assert.equal(asked(), 2);
  });

  test('begins anew when it is full', () => {
    const { find } = counted();
    assert.equal(find('a'), 'a 1');
    for (let i = 0; i < 10_000; i += 1) find(`other ${i}`);
    assert.notEqual(find('a'), 'a 1');
  });
});

describe('the access tokens of a store', () => {
  /** One token that works, and was asked for already. */
  async function remembered() {
    const path = nextPath();
    const store = openSqliteStore(path);
    await store.addClient(client('cl_1'));
    await store.recordSignIn(signIn(1, '1'));
    await store.redeemCode(sha256('code 1'), pair('first'), NOW);
    assert.equal((await store.findAccessToken(TOKEN))?.credential, 'alive');
    return { path, store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
  }

  const OWN_ENDS: Readonly<Record<string, (store: SqliteStore) => Promise<unknown>>> = {
    'the client gave it back': (store) => store.revokeToken(TOKEN, 'cl_1' as ClientId),
    'the client gave its refresh token back': (store) =>
      store.revokeToken(sha256('refresh first'), 'cl_1' as ClientId),
    'its code was used again': (store) => store.redeemCode(sha256('code 1'), pair('again'), NOW),
    'an old refresh token was used': async (store) => {
      const rotate = (from: string, to: string, now: number) =>
        store.rotateRefreshToken(sha256(`refresh ${from}`), pair(to), now, POLICY);
      await rotate('first', 'second', NOW);
      await rotate('second', 'third', NOW);
      assert.equal(await rotate('first', 'fourth', NOW + 10 * POLICY.graceMs), 'reused');
    },
    'it was swept': (store) => store.sweep(NOW + 61 * 60_000),
  };

  for (const [why, end] of Object.entries(OWN_ENDS)) {
    test(`end in the same turn when ${why}`, async () => {
      await using it = await remembered();
      await end(it.store);
      assert.equal(await it.store.findAccessToken(TOKEN), undefined);
    });
  }

  test('show in the same turn that the credential behind them died', async () => {
    await using it = await remembered();
    await it.store.retireCredential('us_1' as UserId, 1);
    assert.equal((await it.store.findAccessToken(TOKEN))?.credential, 'dead');
  });

  test('end soon when an operator ends the grant on another connection', async () => {
    await using it = await remembered();
    using admin = openSqliteAdmin(it.path);
    await admin.revokeGrant((await grantOf(it.store)).id);
    await until('the change is noticed', async () => (await it.store.findAccessToken(TOKEN)) === undefined);
  });

  test('end soon when another process deletes the grant', async () => {
    await using it = await remembered();
    const code = `
      const db = new (require(process.argv[1]))(process.argv[2]);
      db.pragma('foreign_keys = on');
      db.exec('delete from grants');`;
    const driver = new URL(`../../../node_modules/${sqliteDriver()}`, import.meta.url).pathname;
    const { status, stderr } = spawnSync(process.execPath, ['-e', code, driver, it.path], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    await until('the change is noticed', async () => (await it.store.findAccessToken(TOKEN)) === undefined);
  });

  test('are remembered beside writers of other tables, and stay right', async () => {
    await using it = await remembered();
    const other = connect(it.path);
    other.exec("insert into audit_events (id, kind, at) values ('au_1', 'grant.made', 1)");
    other.close();
    assert.equal((await it.store.findAccessToken(TOKEN))?.grant.id, 'gr_1');
  });

  const grantOf = async (store: SqliteStore): Promise<{ readonly id: GrantId }> => {
    const found = await store.findAccessToken(TOKEN);
    assert.ok(found);
    return found.grant;
  };
});
