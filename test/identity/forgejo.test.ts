/** Forgejo as identity provider, against the stand-in: every variant, every error, every way a network fails. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { MINUTE } from '../../src/base/clock.js';
import { createRecordingLog } from '../../src/base/log.js';
import { Secret } from '../../src/base/secret.js';
import type { ForgejoOptions as StandInOptions } from '../../src/demo/forgejo/forgejo.js';
import { createForgejo, type ForgejoOptions } from '../../src/identity/forgejo.js';
import { judgeVersion } from '../../src/identity/forgejo-version.js';
import { isIdentityFault, type UpstreamTokens } from '../../src/oauth/identity.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';
import { Browser, signIn } from '../support/browser.js';
import { IDENTITY, setUpCredentials, USER } from '../support/credentials.js';
import { startForgejo } from '../support/forgejo.js';

const CALLBACK = 'http://127.0.0.1:1/oauth/callback';

async function upstream(options: StandInOptions = {}, allowed: { users?: string[]; orgs?: string[] } = {}) {
  const standIn = await startForgejo(options);
  const { clientId, clientSecret } = standIn.createApplication({ name: 'broker', redirectUris: [CALLBACK] });
  const logged: string[] = [];
  const settings: ForgejoOptions = {
    url: standIn.url,
    clientId,
    clientSecret: new Secret(clientSecret),
    redirectUri: CALLBACK,
    scopes: ['read:user', 'write:repository', 'read:organization'],
    allowedUsers: allowed.users ?? [],
    allowedOrgs: allowed.orgs ?? [],
    timeoutMs: 30_000,
    tokenTimeoutMs: 30_000,
    now: options.now ?? Date.now,
    log: createRecordingLog((_level, event) => logged.push(event)),
  };
  const forgejo = createForgejo(settings);
  const code = async (login: string, browser = new Browser()) => {
    const person = standIn.users.find((user) => user.login === login);
    assert.ok(person);
    const verifier = forgejo.createVerifier();
    const answer = await signIn(browser, new URL(forgejo.authorizationUrl('state', verifier)), person);
    assert.equal(answer.searchParams.get('state'), 'state');
    return { code: answer.searchParams.get('code') ?? '', verifier };
  };
  const tokensOf = async (login: string): Promise<UpstreamTokens> => {
    const granted = await code(login);
    const tokens = await forgejo.redeemCode(granted.code, granted.verifier);
    assert.ok(!isIdentityFault(tokens), JSON.stringify(tokens));
    return tokens;
  };
  const impatient = createForgejo({ ...settings, timeoutMs: 500, tokenTimeoutMs: 500 });
  return {
    standIn,
    forgejo,
    impatient,
    code,
    tokensOf,
    clientId,
    logged,
    [Symbol.asyncDispose]: () => standIn.close(),
  };
}

const kind = (outcome: object | undefined) =>
  outcome === undefined ? 'fine' : isIdentityFault(outcome) ? outcome.kind : 'fine';

test('the life of a token begins with our question, not with an answer that was long on its way', async () => {
  await using it = await upstream({ accessTokenSeconds: 60 });
  const granted = await it.code('alice');
  it.standIn.faults.late(200, '/login/oauth/access_token');
  const askedAt = Date.now();
  const tokens = await it.forgejo.redeemCode(granted.code, granted.verifier);
  assert.ok(!isIdentityFault(tokens));
  assert.ok(tokens.issuedAt >= askedAt + 200);
  assert.ok(tokens.expiresAt < askedAt + 60_200);
});

for (const variant of ['11', '15', '16'] as const) {
  for (const subPath of ['', '/git']) {
    test(`a user of Forgejo ${variant}${subPath} signs in, is identified by number, and is refreshed`, async () => {
      await using it = await upstream({ variant, subPath });
      const tokens = await it.tokensOf('alice');
      const alice = await it.forgejo.identify(tokens.access);
      assert.ok(!isIdentityFault(alice));
      assert.equal(alice.login, 'alice');
      assert.match(alice.subject, /^\d+$/);
      assert.equal(alice.issuer, it.standIn.url);
      assert.ok(tokens.refresh);
      assert.equal(kind(await it.forgejo.refresh(tokens.refresh)), 'fine');
      assert.equal(kind(await it.forgejo.refresh(tokens.refresh)), 'signed_out');
    });
  }
}

describe('what Forgejo answers has one meaning each', () => {
  test('a code is good once, and only with its verifier', async () => {
    await using it = await upstream();
    const { code, verifier } = await it.code('alice');
    assert.equal(kind(await it.forgejo.redeemCode(code, it.forgejo.createVerifier())), 'signed_out');
    assert.equal(kind(await it.forgejo.redeemCode(code, verifier)), 'fine');
    assert.equal(kind(await it.forgejo.redeemCode(code, verifier)), 'signed_out');
  });

  test('a revoked grant, a rotated key and an older login all mean: sign in again', async () => {
    await using it = await upstream();
    const older = await it.tokensOf('alice');
    const newer = await it.tokensOf('alice');
    assert.ok(older.refresh && newer.refresh);
    assert.equal(kind(await it.forgejo.refresh(older.refresh)), 'signed_out');
    it.standIn.control.revokeGrant('alice');
    assert.equal(kind(await it.forgejo.refresh(newer.refresh)), 'signed_out');
    assert.equal(kind(await it.forgejo.identify(newer.access)), 'signed_out');
    const bob = await it.tokensOf('bob');
    it.standIn.control.rotateSigningKey();
    assert.equal(kind(await it.forgejo.refresh(bob.refresh ?? new Secret(''))), 'signed_out');
  });

  test('a barred account can still refresh, but is told apart at /api/v1/user', async () => {
    await using it = await upstream();
    const tokens = await it.tokensOf('alice');
    it.standIn.control.bar('alice');
    assert.equal(kind(await it.forgejo.refresh(tokens.refresh ?? new Secret(''))), 'fine');
    assert.equal(kind(await it.forgejo.identify(tokens.access)), 'barred');
  });

  test('a token without the scope to say whose it is bars nobody: its user consented to something else', async () => {
    await using it = await upstream();
    const token = it.standIn.control.createAccessToken('alice', ['write:repository']);
    assert.equal(kind(await it.forgejo.identify(new Secret(token))), 'scope_conflict');
  });

  test("a wrong client secret is the operator's problem in both grants, and logs nobody out", async () => {
    await using it = await upstream();
    const tokens = await it.tokensOf('alice');
    const granted = await it.code('alice');
    it.standIn.control.regenerateSecret(it.clientId);
    assert.equal(kind(await it.forgejo.redeemCode(granted.code, granted.verifier)), 'misconfigured');
    assert.equal(kind(await it.forgejo.refresh(tokens.refresh ?? new Secret(''))), 'misconfigured');
  });

  test('errors carried by the browser are told apart', async () => {
    await using it = await upstream();
    assert.equal(it.forgejo.explainError('access_denied', 'the request is denied').kind, 'denied');
    assert.equal(
      it.forgejo.explainError('server_error', 'a grant exists with different scope').kind,
      'scope_conflict',
    );
    assert.equal(it.forgejo.explainError('server_error', 'A server error occurred').kind, 'unreachable');
    assert.equal(it.forgejo.explainError('invalid_request', undefined).kind, 'misconfigured');
  });
});

describe('a Forgejo that is down, slow or strange decides nothing', () => {
  const FAULTS = ['hang', 'badGateway', 'reset', 'loseAnswer'] as const;
  for (const fault of FAULTS) {
    test(`${fault} at any endpoint means unreachable`, async () => {
      await using it = await upstream();
      const tokens = await it.tokensOf('alice');
      it.standIn.faults[fault]();
      const outcomes = await Promise.all([
        it.impatient.check(),
        it.impatient.refresh(tokens.refresh ?? new Secret('')),
        it.impatient.identify(tokens.access),
        it.impatient.redeemCode('x', 'y'),
      ]);
      assert.deepEqual(outcomes.map(kind), Array(4).fill('unreachable'));
    });
  }

  test('a proxy that lets nobody through has barred nobody', async () => {
    await using it = await upstream();
    const tokens = await it.tokensOf('alice');
    it.standIn.faults.forbidden();
    assert.equal(kind(await it.forgejo.identify(tokens.access)), 'unreachable');
    assert.equal(kind(await it.forgejo.refresh(tokens.refresh ?? new Secret(''))), 'unreachable');
  });

  test('an OAuth provider that is switched off means unreachable, not a dead sign-in', async () => {
    await using it = await upstream();
    const tokens = await it.tokensOf('alice');
    it.standIn.control.change({ oauthEnabled: false });
    assert.equal(kind(await it.forgejo.refresh(tokens.refresh ?? new Secret(''))), 'unreachable');
  });

  test('nothing that a fault says holds a token', async () => {
    await using it = await upstream();
    const token = randomBytes(20).toString('hex');
    const fault = await it.forgejo.identify(new Secret(token));
    assert.equal(JSON.stringify(fault).includes(token), false);
  });
});

describe('only named users and organisations may sign in, when any are named', () => {
  const CASES: readonly (readonly [
    allowed: { users?: string[]; orgs?: string[] },
    alice: string,
    bob: string,
  ])[] = [
    [{}, 'fine', 'fine'],
    [{ users: ['alice'] }, 'fine', 'not_allowed'],
    [{ orgs: ['gardeners'] }, 'fine', 'not_allowed'],
    [{ users: ['bob'], orgs: ['gardeners'] }, 'fine', 'fine'],
  ];
  for (const [allowed, alice, bob] of CASES) {
    test(`with ${JSON.stringify(allowed)} alice is ${alice} and bob is ${bob}`, async () => {
      await using it = await upstream({}, allowed);
      assert.equal(kind(await it.forgejo.identify((await it.tokensOf('alice')).access)), alice);
      assert.equal(kind(await it.forgejo.identify((await it.tokensOf('bob')).access)), bob);
    });
  }
});

const VERSIONS: readonly (readonly [version: string, verdict: string])[] = [
  ['11.0.13+gitea-1.22.0', 'too_old'],
  ['11.0.14+gitea-1.22.0', 'good'],
  ['10.0.3+gitea-1.22.0', 'too_old'],
  ['12.0.4+gitea-1.22.0', 'too_old'],
  ['14.0.9+gitea-1.22.0', 'too_old'],
  ['15.0.1+gitea-1.22.0', 'too_old'],
  ['15.0.2+gitea-1.22.0', 'good'],
  ['16.0.0+gitea-1.22.0', 'good'],
  ['17.0.0-dev-12-abcdef+gitea-1.22.0', 'good'],
  ['1.24.0', 'not_forgejo'],
  ['unknown', 'not_forgejo'],
];
for (const [version, verdict] of VERSIONS) {
  test(`version ${version} is ${verdict}`, () => assert.equal(judgeVersion(version), verdict));
}

test('a Forgejo that is too old is refused, one that hides its version is not, Gitea is warned of', async () => {
  await using it = await upstream();
  it.standIn.control.change({ version: '14.0.1+gitea-1.22.0' });
  assert.equal(kind(await it.forgejo.check()), 'misconfigured');
  it.standIn.control.change({ requireSigninView: true });
  assert.equal(kind(await it.forgejo.check()), 'fine');
  it.standIn.control.change({ requireSigninView: false, version: '1.24.0' });
  assert.equal(kind(await it.forgejo.check()), 'fine');
  assert.ok(it.logged.includes('upstream.not_forgejo'));
});

test('two brokers on one database refresh at once, again and again, and Forgejo kills the pair of neither', async () => {
  await using it = await setUpCredentials();
  await using its = await upstream({ now: it.now });
  await using store = openSqliteStore(it.database);
  await it.store.keepCredential(IDENTITY, it.keys.seal(IDENTITY, await its.tokensOf('alice')));
  const brokers = [it.store, store].map((each) => it.createCredentials(each, its.forgejo));
  for (let round = 1; round <= 20; round += 1) {
    it.forward(56 * MINUTE);
    const [mine, yours] = await Promise.all(brokers.map((each) => it.read(each)));
    assert.equal(mine, yours);
    assert.equal(kind(await its.forgejo.identify(new Secret(mine ?? ''))), 'fine');
  }
  assert.deepEqual(it.signedOut, []);
  assert.equal((await store.findCredential(USER))?.state, 'alive');
});
