/** One living credential per user: refreshed once, stored before use, never lost to a Forgejo that is merely down. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { MINUTE } from '../../src/base/clock.js';
import { type ClientId, type GrantId, sha256, type UserId } from '../../src/base/ids.js';
import { createRecordingLog } from '../../src/base/log.js';
import { createMetrics } from '../../src/base/metrics.js';
import { Secret } from '../../src/base/secret.js';
import { Credentials } from '../../src/identity/credentials.js';
import { KeyRing } from '../../src/identity/sealing.js';
import { Unsaved } from '../../src/identity/unsaved.js';
import { createAudit } from '../../src/oauth/audit.js';
import type { Client } from '../../src/oauth/clients.js';
import {
  type IdentityFault,
  type IdentityProvider,
  isIdentityFault,
  type UpstreamTokens,
} from '../../src/oauth/identity.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';
import { parseSeries } from '../support/scrape.js';

const USER = 'us_1' as UserId;
const IDENTITY = { issuer: 'https://forgejo.example', subject: '7', login: 'alice' };
const START = 1_800_000_000_000;

/** An upstream port whose refreshes are answered by the test, when and as it likes. */
function scriptedUpstream(now: () => number) {
  const asked: ((answer: UpstreamTokens | IdentityFault) => void)[] = [];
  let user: IdentityFault | typeof IDENTITY = IDENTITY;
  const provider: IdentityProvider = {
    issuer: IDENTITY.issuer,
    displayName: 'forgejo.example',
    createVerifier: () => 'v',
    authorizationUrl: () => '',
    check: async () => undefined,
    redeemCode: async () => ({ kind: 'unreachable', detail: '' }),
    refresh: () => new Promise((resolve) => asked.push(resolve)),
    identify: async () => user,
    explainError: () => ({ kind: 'unreachable', detail: '' }),
  };
  return {
    provider,
    asked,
    answer: (text: string, seconds = 3600) =>
      asked.shift()?.({
        access: new Secret(`access ${text}`),
        refresh: new Secret(`refresh ${text}`),
        issuedAt: now(),
        expiresAt: now() + seconds * 1000,
      }),
    fail: (kind: IdentityFault['kind']) => asked.shift()?.({ kind, detail: 'because' }),
    bar: () => {
      user = { kind: 'barred', detail: '403' };
    },
  };
}

async function setUp({ failingWrites = 0 } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'fjmcp-credentials-'));
  let time = START;
  const now = () => time;
  const store = openSqliteStore(join(folder, 'broker.db'));
  const keys = new KeyRing([randomBytes(32)], randomBytes);
  const upstream = scriptedUpstream(now);
  let failuresLeft = failingWrites;
  const metrics = createMetrics({ ofProcess: false });
  const log = createRecordingLog(() => undefined);
  const unsaved = new Unsaved({
    store: {
      ...store,
      async replaceCredential(...written) {
        failuresLeft -= 1;
        if (failuresLeft >= 0) throw new Error('disk full');
        return store.replaceCredential(...written);
      },
    },
    identity: upstream.provider,
    keys,
    now,
    log,
  });
  const credentials = new Credentials({
    store,
    identity: upstream.provider,
    keys,
    unsaved,
    onSignedOut: () => undefined,
    audit: createAudit({ store, log, now, random: randomBytes }),
    metrics,
    now,
    random: randomBytes,
    log,
    timing: { patienceMs: 10_000, othersMs: 5 },
  });
  const client: Client = {
    id: 'cl_1' as ClientId,
    kind: 'dynamic',
    name: 'c',
    redirectUris: [],
    authMethod: 'none',
    secretHash: undefined,
    jwksUri: undefined,
    grantTypes: ['authorization_code'],
    uri: undefined,
    createdAt: START,
  };
  await store.addClient(client);
  const signIn = (n: number, access: string) =>
    store.recordSignIn({
      newUserId: USER,
      identity: IDENTITY,
      client,
      credential: keys.seal(IDENTITY, {
        access: new Secret(access),
        refresh: new Secret(`refresh of ${access}`),
        issuedAt: time,
        expiresAt: time + 60 * MINUTE,
      }),
      grant: {
        id: `gr_${n}` as GrantId,
        clientId: 'cl_1' as ClientId,
        resource: 'r',
        scope: 'mcp',
        createdAt: time,
      },
      code: { hash: sha256(`${n}`), redirectUri: 'x', codeChallenge: 'c', expiresAt: time },
    });
  await signIn(1, 'access first');
  /** Waits until the upstream was asked `count` times in all that are still unanswered. */
  const untilAsked = async (count = 1) => {
    while (upstream.asked.length < count) await new Promise((resolve) => setImmediate(resolve));
  };
  const read = async () => {
    const fresh = await credentials.fresh(USER);
    return isIdentityFault(fresh) ? fresh.kind : fresh.tokens.access.reveal();
  };
  /** How often a refresh ended in which way. */
  const refreshes = async () =>
    Object.fromEntries(
      [...parseSeries(await metrics.text())]
        .filter(([, count]) => count > 0)
        .map(([name, count]) => [/outcome="(\w+)"/.exec(name)?.[1], count]),
    );
  return {
    refreshes,
    store,
    keys,
    upstream,
    credentials,
    signIn,
    untilAsked,
    read,
    forward: (ms: number) => {
      time += ms;
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    },
  };
}

test('a token far from its end is given as it is', async () => {
  await using it = await setUp();
  it.forward(54 * MINUTE);
  assert.equal(await it.read(), 'access first');
  assert.equal(it.upstream.asked.length, 0);
  assert.deepEqual(await it.refreshes(), {});
});

test('a token near its end is refreshed once, however many ask', async () => {
  await using it = await setUp();
  it.forward(56 * MINUTE);
  const readers = Array.from({ length: 20 }, () => it.read());
  await it.untilAsked();
  it.upstream.answer('second');
  assert.deepEqual(new Set(await Promise.all(readers)), new Set(['access second']));
  assert.deepEqual(await it.refreshes(), { refreshed: 1 });
  assert.equal(it.upstream.asked.length, 0);
  assert.equal(await it.read(), 'access second');
});

test('a refreshed pair that the store cannot take is not lost: it is stored at the next try', async () => {
  await using it = await setUp({ failingWrites: 1 });
  it.forward(56 * MINUTE);
  const reading = it.read();
  await it.untilAsked();
  it.upstream.answer('second');
  await assert.rejects(reading, /disk full/);
  assert.deepEqual(await it.refreshes(), { unsaved: 1 });
  assert.equal(await it.read(), 'access second');
  assert.equal(it.upstream.asked.length, 0);
});

test('a dead refresh token retires the credential, and a new sign-in revives the user', async () => {
  await using it = await setUp();
  it.forward(56 * MINUTE);
  const reading = it.read();
  await it.untilAsked();
  it.upstream.fail('signed_out');
  assert.equal(await reading, 'signed_out');
  assert.deepEqual(await it.refreshes(), { signed_out: 1 });
  assert.equal((await it.store.findCredential(USER))?.state, 'dead');
  await it.signIn(2, 'access again');
  assert.equal(await it.read(), 'access again');
});

for (const kind of ['unreachable', 'misconfigured'] as const) {
  test(`while Forgejo is ${kind} the old token serves until its end, and nothing is deleted`, async () => {
    await using it = await setUp();
    it.forward(56 * MINUTE);
    const early = it.read();
    await it.untilAsked();
    it.upstream.fail(kind);
    assert.equal(await early, 'access first');
    it.forward(10 * MINUTE);
    const late = it.read();
    await it.untilAsked();
    it.upstream.fail(kind);
    assert.equal(await late, kind);
    assert.deepEqual(await it.refreshes(), { [kind]: 2 });
    assert.equal((await it.store.findCredential(USER))?.state, 'alive');
  });
}

test('a sign-in during a refresh wins over it', async () => {
  await using it = await setUp();
  it.forward(56 * MINUTE);
  const reading = it.read();
  await it.untilAsked();
  await it.signIn(2, 'access of the new login');
  it.upstream.answer('of the refresh');
  assert.equal(await reading, 'access of the new login');
  assert.deepEqual(await it.refreshes(), { superseded: 1 });
});

test('a dead answer to an old refresh token does not retire the credential of a sign-in meanwhile', async () => {
  await using it = await setUp();
  it.forward(56 * MINUTE);
  const reading = it.read();
  await it.untilAsked();
  await it.signIn(2, 'access of the new login');
  it.upstream.fail('signed_out');
  assert.equal(await reading, 'access of the new login');
});

test('a barred user is found out at the refresh', async () => {
  await using it = await setUp();
  it.forward(56 * MINUTE);
  it.upstream.bar();
  const reading = it.read();
  await it.untilAsked();
  it.upstream.answer('second');
  assert.equal(await reading, 'barred');
  assert.deepEqual(await it.refreshes(), { barred: 1 });
  assert.equal(await it.read(), 'signed_out');
});

test('a short-lived token is refreshed only when two thirds of its life are over', async () => {
  await using it = await setUp();
  it.forward(56 * MINUTE);
  const reading = it.read();
  await it.untilAsked();
  it.upstream.answer('short', 60);
  assert.equal(await reading, 'access short');
  it.forward(30_000);
  assert.equal(await it.read(), 'access short');
});

test('a sealed credential opens with its key, for its user, unaltered, and not otherwise', async () => {
  await using it = await setUp();
  const row = await it.store.findCredential(USER);
  assert.ok(row);
  assert.equal(it.keys.open(row)?.access.reveal(), 'access first');
  assert.equal(row.sealed.includes('access first'), false);
  assert.equal(it.keys.open({ ...row, identity: { ...IDENTITY, subject: '8' } }), undefined);
  const altered = Buffer.from(row.sealed);
  altered.writeUInt8(altered.readUInt8(20) ^ 1, 20);
  assert.equal(it.keys.open({ ...row, sealed: altered }), undefined);
  assert.equal(new KeyRing([randomBytes(32)], randomBytes).open(row), undefined);
});

test('a new first key seals, and the old one still opens', async () => {
  const [older, newer] = [randomBytes(32), randomBytes(32)];
  const tokens = { access: new Secret('a'), refresh: undefined, issuedAt: 0, expiresAt: 1 };
  const row = { userId: USER, identity: IDENTITY, version: 1, state: 'alive' } as const;
  const old = new KeyRing([older], randomBytes).seal(IDENTITY, tokens);
  const ring = new KeyRing([newer, older], randomBytes);
  assert.equal(ring.open({ ...row, ...old })?.access.reveal(), 'a');
  assert.notEqual(ring.seal(IDENTITY, tokens).keyId, old.keyId);
});
