/**
 * Sign-ins that go wrong halfway. Forgejo has killed the user's older tokens by then, so each of them could log out every
 * other client of that user: none does, and nobody has to sign in again.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { DAY, MINUTE } from '../../src/base/clock.js';
import { openSqlite } from '../../src/store/sqlite.js';
import { until } from '../fixtures/until.js';
import { Browser, type Page } from '../support/browser.js';
import type { Connection, Stage } from '../support/connection.js';
import { withIntervals } from '../support/intervals.js';
import { atClient } from '../support/stage.js';
import { act, openConsent, startToolStage, toCallback, whoami } from '../support/tools.js';

const HOUR = 60 * MINUTE;
const TOKEN_ENDPOINT = '/login/oauth/access_token';
const USER = '/api/v1/user';

/** Two clients of alice, and the browser with which a third sign-in begins. */
async function setUp() {
  const [stage, intervals] = await withIntervals(startToolStage);
  const browser = new Browser();
  const clients = [await stage.connect('alice', browser), await stage.connect('alice', browser)] as const;
  const [first] = clients;
  /** Both refresh, here and at Forgejo, and use their tools for as long as it takes every token to be renewed. */
  const assertNobodyHasToSignIn = async () => {
    for (let time = 0; time < 6 * HOUR; time += 2 * HOUR) {
      stage.forward(2 * HOUR);
      for (const each of clients) await act(stage, each);
    }
    assert.deepEqual(
      clients.map(({ visits }) => visits),
      [1, 1],
    );
    assert.equal(stage.count('credential.dead'), 0);
  };
  return {
    stage,
    intervals,
    faults: stage.broker.forgejo.faults,
    browser,
    clients,
    first,
    toCallback: (from = browser) => toCallback(stage, first, from),
    assertNobodyHasToSignIn,
    [Symbol.asyncDispose]: () => stage[Symbol.asyncDispose](),
  };
}

/** Another program at the broker's database. */
function meddle(stage: Stage) {
  const { db, close } = openSqlite(stage.database);
  return {
    /** Every such write fails, until it is mended. */
    breakWrites: (what: 'insert on grants' | 'update on credentials') =>
      db.run(sql.raw(`create trigger broken before ${what} begin select raise(abort, 'broken'); end`)),
    credentialVersion: () => db.get<{ version: number }>(sql`select version from credentials`)?.version ?? 0,
    mend: () => db.run(sql`drop trigger broken`),
    lock: () => db.run(sql`begin immediate`),
    unlock: () => db.run(sql`rollback`),
    [Symbol.dispose]: close,
  };
}

const hasCode = ({ location }: Page) => location?.searchParams.has('code') === true;

/** A second browser of alice that is signed in at Forgejo. */
async function otherBrowser(stage: Stage): Promise<Browser> {
  const browser = new Browser();
  await stage.connect('alice', browser);
  return browser;
}

describe('a store that fails at the end of a sign-in', () => {
  test('loses none of the tokens just received: the other clients of the user live on', async () => {
    await using it = await setUp();
    using store = meddle(it.stage);
    const callback = await it.toCallback();
    store.breakWrites('insert on grants');
    assert.equal((await it.browser.get(callback)).status, 500);
    store.mend();
    await it.assertNobodyHasToSignIn();
  });

  test('stores them within a minute when it works again, whoever uses what', async () => {
    await using it = await setUp();
    using store = meddle(it.stage);
    const callback = await it.toCallback();
    store.breakWrites('insert on grants');
    await it.browser.get(callback);
    store.mend();
    const before = store.credentialVersion();
    await it.intervals.run(MINUTE);
    assert.equal(store.credentialVersion(), before + 1);
    await it.assertNobodyHasToSignIn();
  });

  test('locked, is a page that says when to come back; reloaded, the sign-in ends without asking Forgejo for a new code', {
    timeout: 60_000,
  }, async () => {
    await using it = await setUp();
    using store = meddle(it.stage);
    const callback = await it.toCallback();
    store.lock();
    const page = await it.browser.get(callback);
    store.unlock();
    assert.equal(page.status, 503);
    assert.match(page.headers.get('retry-after') ?? '', /^\d+$/);
    assert.match(page.body, /reload this page/);
    assert.doesNotMatch(page.body, /SQLITE|locked/);
    const asked = it.faults.count(TOKEN_ENDPOINT);
    assert.ok(hasCode(await it.browser.get(callback)));
    assert.equal(it.faults.count(TOKEN_ENDPOINT), asked);
    await it.assertNobodyHasToSignIn();
  });

  test('and has just kept the tokens of a void answer from being stored, gets them later', async () => {
    await using it = await setUp();
    using store = meddle(it.stage);
    store.breakWrites('update on credentials');
    await voidAnswer(it);
    store.mend();
    await it.assertNobodyHasToSignIn();
  });
});

test('a broker that is stopped stores what it could not before', async () => {
  await using it = await setUp();
  using store = meddle(it.stage);
  const callback = await it.toCallback();
  store.breakWrites('insert on grants');
  await it.browser.get(callback);
  store.mend();
  await it.stage.broker.restart();
  await it.assertNobodyHasToSignIn();
});

describe('a Forgejo that does not say whose a token is', () => {
  test('does not cost the user who tries again a second code', async () => {
    await using it = await setUp();
    const callback = await it.toCallback();
    it.faults.badGateway(USER);
    const failed = await it.browser.open(callback);
    assert.equal(failed.status, 502);
    const again = await it.browser.submit(failed, { button: 'continue', ...atClient });
    assert.equal(again.status, 502);
    it.faults.clear();
    const asked = it.faults.count('/login/oauth');
    assert.ok(hasCode(await it.browser.submit(again, { button: 'continue', ...atClient })));
    assert.equal(it.faults.count('/login/oauth'), asked);
    await it.assertNobodyHasToSignIn();
  });

  for (const [how, leave] of [
    ['gives up', async () => undefined],
    [
      'cancels',
      async (browser: Browser, page: Page) => browser.submit(page, { button: 'cancel', ...atClient }),
    ],
  ] as const) {
    test(`logs out no other client of a user who then ${how}, not even while nothing is known`, async () => {
      await using it = await setUp();
      const callback = await it.toCallback();
      it.faults.badGateway(USER);
      await leave(it.browser, await it.browser.open(callback));
      it.stage.forward(90 * MINUTE);
      for (const each of it.clients) {
        assert.equal((await each.refresh()).status, 200);
        assert.equal(await whoami(it.stage, each), 'unreachable');
        assert.ok(await each.isAlive());
      }
      it.faults.clear();
      await it.assertNobodyHasToSignIn();
    });
  }

  test('is asked again every minute, so that a restart loses nothing', async () => {
    await using it = await setUp();
    const callback = await it.toCallback();
    it.faults.badGateway(USER);
    await it.browser.open(callback);
    await it.intervals.run(MINUTE);
    it.faults.clear();
    const asked = it.faults.count(USER);
    await it.intervals.run(MINUTE);
    await until('it was asked', () => it.faults.count(USER) > asked);
    await until('it was stored', () => it.stage.count('credential.identified') === 1);
    await it.stage.broker.restart();
    await it.assertNobodyHasToSignIn();
  });

  test('for a day is asked no more: a dead credential is told from one that waits', async () => {
    await using it = await setUp();
    const callback = await it.toCallback();
    it.faults.badGateway(USER);
    await it.browser.open(callback);
    it.stage.forward(DAY);
    it.faults.clear();
    for (const each of it.clients) await each.refresh();
    assert.equal(await whoami(it.stage, it.first), 'signed-out');
  });
});

/** Alice presses Continue a second time while Forgejo's answer to the first is looked at, and then goes away. */
async function voidAnswer(it: Awaited<ReturnType<typeof setUp>>): Promise<void> {
  const page = await openConsent(it.stage, it.first, it.browser);
  const stopAt = (url: URL) => url.pathname === '/oauth/callback';
  const { location } = await it.browser.submit(page, { button: 'continue', stopAt });
  assert.ok(location);
  const asked = it.faults.count(USER);
  it.faults.slow(300, USER);
  const first = it.browser.get(location);
  await until('the first answer is looked at', () => it.faults.count(USER) > asked);
  it.faults.clear();
  await it.browser.submit(page, { button: 'continue', stopAt });
  assert.match((await first).body, /has ended/);
}

test('an answer that the user made void logs out no other client', async () => {
  await using it = await setUp();
  await voidAnswer(it);
  await it.assertNobodyHasToSignIn();
});

describe('a sign-in that another client of the user refreshes in the middle of', () => {
  test('is waited for: its code is redeemed, and nothing of it is stored yet', async () => {
    await using it = await setUp();
    it.stage.forward(2 * HOUR);
    await it.first.refresh();
    const callback = await it.toCallback();
    const asked = it.faults.count(USER);
    it.faults.slow(300, USER);
    const signingIn = it.browser.get(callback);
    await until('the code was redeemed', () => it.faults.count(USER) > asked);
    assert.equal(await whoami(it.stage, it.first), 'alice');
    it.faults.clear();
    assert.ok(hasCode(await signingIn));
    await it.assertNobodyHasToSignIn();
  });

  test('is no reason to give up the old tokens while the new ones are on their way', async () => {
    await using it = await setUp();
    it.stage.forward(2 * HOUR);
    await it.first.refresh();
    const callback = await it.toCallback();
    const asked = it.faults.count(TOKEN_ENDPOINT);
    it.faults.late(1000, TOKEN_ENDPOINT);
    const signingIn = it.browser.get(callback);
    await until('the code was redeemed', () => it.faults.count(TOKEN_ENDPOINT) > asked);
    it.faults.clear();
    assert.equal(await whoami(it.stage, it.first), 'alice');
    assert.ok(hasCode(await signingIn));
    await it.assertNobodyHasToSignIn();
  });
});

describe('two browsers of one user that sign in at once', () => {
  /** How often Forgejo was asked for tokens until `connection` could use them again two hours later. */
  const requestsToRenew = async ({ stage, faults }: Awaited<ReturnType<typeof setUp>>, one: Connection) => {
    stage.forward(2 * HOUR);
    const asked = faults.count(TOKEN_ENDPOINT);
    await act(stage, one);
    return faults.count(TOKEN_ENDPOINT) - asked;
  };

  test('and end in the other order leave the living tokens behind, though all was in one millisecond', async () => {
    await using it = await setUp();
    const other = await otherBrowser(it.stage);
    const [slow, quick] = [await it.toCallback(), await it.toCallback(other)];
    const asked = it.faults.count(USER);
    it.faults.slow(500, USER);
    const first = it.browser.get(slow);
    await until('the slow one at Forgejo', () => it.faults.count(USER) > asked);
    it.faults.clear();
    for (const page of [await other.get(quick), await first]) assert.ok(hasCode(page));
    assert.equal(await requestsToRenew(it, it.first), 1);
    await it.assertNobodyHasToSignIn();
  });

  test('and are answered in the other order: nothing tells which tokens live, so both are tried', async () => {
    await using it = await setUp();
    const other = await otherBrowser(it.stage);
    const [late, quick] = [await it.toCallback(), await it.toCallback(other)];
    const asked = it.faults.count(TOKEN_ENDPOINT);
    it.faults.late(500, TOKEN_ENDPOINT);
    const first = it.browser.get(late);
    await until('the code of the first was redeemed', () => it.faults.count(TOKEN_ENDPOINT) > asked);
    it.faults.clear();
    for (const page of [await other.get(quick), await first]) assert.ok(hasCode(page));
    assert.equal(await requestsToRenew(it, it.first), 2);
    await it.assertNobodyHasToSignIn();
  });

  test('live on when one of them is answered by a Forgejo that fails, and tries again', async () => {
    await using it = await setUp();
    const other = await otherBrowser(it.stage);
    const [failing, quick] = [await it.toCallback(), await it.toCallback(other)];
    it.faults.badGateway(USER);
    const failed = await it.browser.open(failing);
    assert.equal(failed.status, 502);
    it.faults.clear();
    assert.ok(hasCode(await other.get(quick)));
    assert.ok(hasCode(await it.browser.submit(failed, { button: 'continue', ...atClient })));
    assert.equal(await requestsToRenew(it, it.first), 1);
    await it.assertNobodyHasToSignIn();
  });
});
