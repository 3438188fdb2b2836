/** The token endpoint: every refusal in Forgejo's words, what burns a code, and which refresh token of a grant is alive. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertRefused, basic, claimsOf, pairOf, redirectUri, START, startWire, verifier } from './wire.js';

const used = ['unauthorized_client', 'token was already used'] as const;
const unparsable = ['unauthorized_client', 'unable to parse refresh token'] as const;

test('the answer has exactly its members in their order, and the tokens exactly their claims', async () => {
  await using wire = await startWire();
  const answer = await wire.redeem(await wire.code());
  assert.equal(answer.headers.get('content-type'), 'application/json;charset=utf-8');
  assert.equal(answer.headers.get('cache-control'), 'max-age=0, private, must-revalidate');
  assert.deepEqual(Object.keys(JSON.parse(answer.text)), [
    'access_token',
    'token_type',
    'expires_in',
    'refresh_token',
  ]);
  const { access_token, refresh_token } = pairOf(answer);
  const iat = START / 1000;
  const gnt = claimsOf(access_token).gnt;
  assert.deepEqual(claimsOf(access_token), { gnt, tt: 0, exp: iat + 3600, iat });
  assert.deepEqual(claimsOf(refresh_token), { gnt, tt: 1, cnt: 1, exp: iat + 730 * 3600, iat });
});

test('a client authenticates in a form, by Basic or in JSON, and the body wins when it is complete', async () => {
  await using wire = await startWire();
  const authorization = basic(wire.clientId, wire.clientSecret);
  const absent = { client_id: '', client_secret: '' };
  pairOf(await wire.redeem(await wire.code()));
  pairOf(await wire.redeem(await wire.code(), absent, { authorization }));
  pairOf(await wire.redeem(await wire.code(), { client_id: '' }, { authorization }));
  pairOf(await wire.redeem(await wire.code(), {}, { authorization: basic('other', 'wrong') }));
  pairOf(await wire.redeem(await wire.code(), {}, { authorization: 'Bearer ignored' }));
  const fields = {
    grant_type: 'authorization_code',
    client_id: wire.clientId,
    client_secret: wire.clientSecret,
    redirect_uri: redirectUri,
    code_verifier: verifier,
  };
  const multipart = new FormData();
  for (const [name, value] of Object.entries({ ...fields, code: await wire.code() }))
    multipart.set(name, value);
  pairOf(await wire.web('/login/oauth/access_token', { method: 'POST', body: multipart }));
  pairOf(
    await wire.web('/login/oauth/access_token', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...fields, code: await wire.code() }),
    }),
  );
});

test('a Basic header that cannot be read or contradicts the body is an invalid request', async () => {
  await using wire = await startWire();
  const absent = { client_id: '', client_secret: '' };
  for (const authorization of ['Basic ???', `Basic ${Buffer.from('no colon').toString('base64')}`]) {
    const answer = await wire.redeem('any', absent, { authorization });
    assertRefused(answer, 'invalid_request', 'cannot parse basic auth header');
  }
  const authorization = basic('other', 'wrong');
  assertRefused(
    await wire.redeem('any', { client_secret: '' }, { authorization }),
    'invalid_request',
    'client_id in request body inconsistent with Authorization header',
  );
  assertRefused(
    await wire.redeem('any', { client_id: '' }, { authorization }),
    'invalid_request',
    'client_secret in request body inconsistent with Authorization header',
  );
});

test('other grant types, and a body that binds nothing, are unsupported', async () => {
  await using wire = await startWire();
  const message = 'Only refresh_token or authorization_code grant type is supported';
  assertRefused(await wire.token({ grant_type: 'client_credentials' }), 'unsupported_grant_type', message);
  const untyped = { method: 'POST', body: new Uint8Array([1]) };
  assertRefused(await wire.web('/login/oauth/access_token', untyped), 'unsupported_grant_type', message);
});

test('a code exchange is refused for the first of its faults', async () => {
  await using wire = await startWire();
  const other = wire.forgejo.createApplication({ name: 'other', redirectUris: [redirectUri] });
  const theirs = { client_id: other.clientId, client_secret: other.clientSecret };
  const code = await wire.code();
  for (const [changed, error, description] of [
    [{ client_id: 'x', client_secret: 'x' }, 'invalid_client', "cannot load client with client id: 'x'"],
    [{ client_secret: 'x', redirect_uri: 'x' }, 'unauthorized_client', 'invalid client secret'],
    [{ client_secret: '' }, 'unauthorized_client', 'invalid empty client secret'],
    [{ redirect_uri: 'https://evil.test', code: 'x' }, 'unauthorized_client', 'unexpected redirect URI'],
    [{ code: 'x', code_verifier: 'x' }, 'unauthorized_client', 'client is not authorized'],
    [{ code_verifier: 'x', redirect_uri: '' }, 'unauthorized_client', 'failed PKCE code challenge'],
    [
      { ...theirs, redirect_uri: `${redirectUri}/` },
      'unauthorized_client',
      'redirect_uri does not match the authorization request',
    ],
    [{ redirect_uri: '' }, 'unauthorized_client', 'redirect_uri does not match the authorization request'],
    [theirs, 'invalid_grant', 'invalid grant'],
  ] as const) {
    assertRefused(await wire.redeem(code, changed), error, description);
  }
  assert.equal((await wire.redeem(code)).status, 200, 'none of these attempts burned the code');
});

test('a code is good once, for ever, and only while its grant lives', async () => {
  await using wire = await startWire();
  const code = await wire.code();
  wire.passSeconds(400 * 24 * 3600);
  const first = pairOf(await wire.redeem(code));
  assertRefused(await wire.redeem(code), 'unauthorized_client', 'client is not authorized');
  assert.equal((await wire.api('/user', first.access_token)).status, 200, 're-use revokes nothing');
  const orphan = await wire.code();
  wire.forgejo.control.revokeGrant('alice', wire.clientId);
  assertRefused(await wire.redeem(orphan), 'unauthorized_client', 'client is not authorized');
});

test('without PKCE any verifier passes, with plain the challenge itself', async () => {
  await using wire = await startWire();
  const none = await wire.code('alice', { code_challenge: '', code_challenge_method: '' });
  assert.equal((await wire.redeem(none, { code_verifier: 'whatever' })).status, 200);
  const plain = await wire.code('alice', { code_challenge: 'same', code_challenge_method: 'plain' });
  assert.equal((await wire.redeem(plain, { code_verifier: 'same' })).status, 200);
});

test('a public client needs no secret and may send any', async () => {
  await using wire = await startWire({}, { confidential: false });
  pairOf(await wire.redeem(await wire.code(), { client_secret: '' }));
  pairOf(await wire.redeem(await wire.code(), { client_secret: 'whatever' }));
});

test('a refresh is refused for the first of its faults', async () => {
  await using wire = await startWire();
  const other = wire.forgejo.createApplication({ name: 'other', redirectUris: [redirectUri] });
  const theirs = { client_id: other.clientId, client_secret: other.clientSecret };
  const { access_token, refresh_token } = await wire.tokens();
  for (const [changed, error, description] of [
    [{ client_id: 'x', client_secret: 'x' }, 'invalid_client', 'cannot load client with client id: "x"'],
    [{ client_secret: 'x', refresh_token: 'x' }, 'invalid_client', 'invalid client secret'],
    [{ client_secret: '' }, 'invalid_client', 'invalid empty client secret'],
    [{ refresh_token: 'x' }, ...unparsable],
    [{ refresh_token: `${refresh_token}x` }, ...unparsable],
    [{ refresh_token: access_token }, 'unauthorized_client', 'token is not a refresh token'],
    [theirs, 'invalid_grant', 'refresh token was not issued to this client'],
  ] as const) {
    assertRefused(await wire.refresh(refresh_token, changed), error, description);
  }
  wire.forgejo.control.revokeGrant('alice');
  assertRefused(await wire.refresh(refresh_token), 'invalid_grant', 'grant does not exist');
});

test('11 does not look at the type of a refresh token, its counter stops an access token', async () => {
  await using wire = await startWire({ variant: '11' });
  const { access_token } = await wire.tokens();
  assertRefused(await wire.refresh(access_token), ...used);
  wire.forgejo.control.change({ invalidateRefreshTokens: false });
  assert.equal((await wire.refresh(access_token)).status, 200);
});

test('exactly one refresh token of a user and application is alive: the newest', async () => {
  await using wire = await startWire();
  const laptop = await wire.tokens();
  const phone = await wire.tokens();
  assertRefused(await wire.refresh(laptop.refresh_token), ...used);
  const bob = await wire.tokens('bob');
  const next = pairOf(await wire.refresh(phone.refresh_token));
  assert.equal(claimsOf(next.refresh_token).cnt, 3);
  assertRefused(await wire.refresh(phone.refresh_token), ...used);
  for (const { access_token } of [laptop, phone, next]) {
    assert.equal((await wire.api('/user', access_token)).status, 200, 'access tokens live on');
  }
  assert.equal((await wire.refresh(bob.refresh_token)).status, 200, 'other users are untouched');
});

test('without invalidation refresh tokens are reusable and uncounted, and die when it is turned on', async () => {
  await using wire = await startWire({ invalidateRefreshTokens: false });
  const { refresh_token } = await wire.tokens();
  assert.equal(claimsOf(refresh_token).cnt, undefined);
  assert.equal((await wire.refresh(refresh_token)).status, 200);
  assert.equal((await wire.refresh(refresh_token)).status, 200);
  wire.forgejo.control.change({ invalidateRefreshTokens: true });
  assertRefused(await wire.refresh(refresh_token), ...used);
});

test('a refresh token slides: it lives its time from the last refresh', async () => {
  await using wire = await startWire({ refreshTokenSeconds: 100 });
  const first = await wire.tokens();
  wire.passSeconds(99);
  const second = pairOf(await wire.refresh(first.refresh_token));
  wire.passSeconds(99);
  const third = pairOf(await wire.refresh(second.refresh_token));
  wire.passSeconds(100);
  assertRefused(await wire.refresh(third.refresh_token), ...unparsable);
});

test('both races can be lost, and the loser has to start over', async () => {
  await using wire = await startWire();
  const code = await wire.code();
  wire.forgejo.control.loseRace('code');
  assertRefused(await wire.redeem(code), 'invalid_request', 'cannot proceed your request');
  assertRefused(await wire.redeem(code), 'unauthorized_client', 'client is not authorized');
  const { refresh_token } = await wire.tokens();
  wire.forgejo.control.loseRace('counter');
  assertRefused(await wire.refresh(refresh_token), 'invalid_grant', 'cannot increase the grant counter');
  assertRefused(await wire.refresh(refresh_token), ...used);
});

test('refresh goes on for a user who is barred or renamed, and ends for one who is deleted', async () => {
  await using wire = await startWire();
  const { control } = wire.forgejo;
  let pair = await wire.tokens();
  control.bar('alice');
  pair = pairOf(await wire.refresh(pair.refresh_token));
  assert.equal((await wire.api('/user', pair.access_token)).status, 403);
  control.unbar('alice');
  control.rename('alice', 'alicia');
  pair = pairOf(await wire.refresh(pair.refresh_token));
  const { id, login, username } = JSON.parse((await wire.api('/user', pair.access_token)).text);
  assert.deepEqual({ id, login, username }, { id: 2, login: 'alicia', username: 'alicia' });
  control.deleteUser('alicia');
  assertRefused(await wire.refresh(pair.refresh_token), 'invalid_grant', 'grant does not exist');
  assert.equal((await wire.api('/user', pair.access_token)).status, 401);
});

test('a new signing key makes every token worthless at once and is the only one published', async () => {
  await using wire = await startWire();
  const keys = async () => JSON.parse((await wire.web('/login/oauth/keys')).text).keys;
  const before = await keys();
  const { access_token, refresh_token } = await wire.tokens();
  wire.forgejo.control.rotateSigningKey();
  assertRefused(await wire.refresh(refresh_token), ...unparsable);
  assert.equal((await wire.api('/user', access_token)).status, 401);
  const after = await keys();
  assert.equal(after.length, 1);
  assert.notEqual(after[0].kid, before[0].kid);
  assert.deepEqual(Object.keys(after[0]), ['alg', 'e', 'kid', 'kty', 'n', 'use']);
});

test('a regenerated secret or a deleted application is the operator’s problem, not the user’s', async () => {
  await using wire = await startWire();
  const { control } = wire.forgejo;
  const { access_token, refresh_token } = await wire.tokens();
  const secret = control.regenerateSecret(wire.clientId);
  assertRefused(await wire.refresh(refresh_token), 'invalid_client', 'invalid client secret');
  const next = pairOf(await wire.refresh(refresh_token, { client_secret: secret }));
  assert.equal((await wire.api('/user', access_token)).status, 200);
  control.deleteApplication(wire.clientId);
  const unknown = `cannot load client with client id: "${wire.clientId}"`;
  assertRefused(await wire.refresh(next.refresh_token), 'invalid_client', unknown);
  assert.equal((await wire.api('/user', access_token)).status, 401);
});

test('an application goes with its owner, the access tokens others gave it live on', async () => {
  await using wire = await startWire();
  const { login, password } = wire.user('bob');
  const made = await wire.api('/user/applications/oauth2', undefined, {
    method: 'POST',
    headers: { authorization: basic(login, password) },
    body: JSON.stringify({ name: 'x', confidential_client: true, redirect_uris: [redirectUri] }),
  });
  const { client_id, client_secret } = JSON.parse(made.text);
  const code = await wire.code('alice', { client_id });
  const pair = pairOf(await wire.redeem(code, { client_id, client_secret }));
  wire.forgejo.control.deleteUser('bob');
  assert.equal((await wire.api('/user', pair.access_token)).status, 200);
  const refused = await wire.refresh(pair.refresh_token, { client_id, client_secret });
  assertRefused(refused, 'invalid_client', `cannot load client with client id: "${client_id}"`);
});

test('tokens of one second are identical, those made after expiry by hand are not', async () => {
  await using wire = await startWire();
  const first = await wire.tokens();
  const second = await wire.tokens();
  assert.equal(first.access_token, second.access_token);
  wire.forgejo.control.expireAccessTokens('alice');
  assert.equal((await wire.api('/user', second.access_token)).status, 401);
  const third = pairOf(await wire.refresh(second.refresh_token));
  assert.equal((await wire.api('/user', third.access_token)).status, 200);
});

test('an id token comes with the openid scope and keeps the nonce of the grant', async () => {
  await using wire = await startWire();
  const scope = 'openid profile email groups read:user';
  const first = await wire.tokens('alice', { scope, nonce: 'n1' });
  const refreshed = pairOf(await wire.refresh(first.refresh_token));
  for (const pair of [first, refreshed]) {
    const claims = claimsOf(pair.id_token ?? '');
    assert.equal(claims.iss, wire.forgejo.url);
    assert.equal(claims.sub, '2');
    assert.deepEqual(claims.aud, [wire.clientId]);
    assert.equal(claims.nonce, 'n1');
    assert.equal(claims.preferred_username, 'alice');
    assert.equal(claims.email_verified, true);
    assert.deepEqual(claims.groups, ['gardeners', 'gardeners:owners']);
  }
  const again = await wire.tokens('alice', { nonce: 'n2' });
  assert.equal(claimsOf(again.id_token ?? '').nonce, 'n2', 'a later login overwrites it');
});

test('a switched-off provider is a plain 403 everywhere', async () => {
  await using wire = await startWire({ oauthEnabled: false });
  for (const path of ['authorize', 'keys', 'userinfo']) {
    const answer = await wire.web(`/login/oauth/${path}`);
    assert.deepEqual([answer.status, answer.text], [403, 'Forbidden\n']);
  }
  const discovery = await wire.web('/.well-known/openid-configuration');
  assert.deepEqual([discovery.status, discovery.text], [404, '']);
});
