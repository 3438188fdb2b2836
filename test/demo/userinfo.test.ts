/** Userinfo, introspection, discovery and the revocation of a grant by its user. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { basic, formOf, startWire, type Wire } from './wire.js';

const incorrect = /^Credentials are incorrect or have expired\./;

async function userinfo(wire: Wire, token?: string) {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return await wire.web('/login/oauth/userinfo', { headers });
}

test('userinfo needs no scope, and its sub is a string', async () => {
  await using wire = await startWire();
  const { access_token } = await wire.tokens('alice', { scope: 'read:misc' });
  const answer = await userinfo(wire, access_token);
  assert.deepEqual(JSON.parse(answer.text), {
    sub: '2',
    name: 'Alice Liddell',
    preferred_username: 'alice',
    email: 'alice@example.test',
    picture: `${wire.forgejo.url}/avatars/2`,
    groups: ['gardeners', 'gardeners:owners'],
  });
  const bob = await wire.tokens('bob');
  assert.equal(JSON.parse((await userinfo(wire, bob.access_token)).text).groups, undefined);
});

test('userinfo challenges a caller without a credential, and only that one', async () => {
  await using wire = await startWire();
  const nobody = await userinfo(wire);
  assert.deepEqual([nobody.status, nobody.text], [401, 'no valid authorization\n']);
  assert.equal(nobody.headers.get('www-authenticate'), 'Bearer realm=""');
  const wrong = await userinfo(wire, 'x');
  assert.equal(wrong.status, 401);
  assert.match(wrong.text, incorrect);
  assert.equal(wrong.headers.get('www-authenticate'), null);
});

test('userinfo of a barred user is JSON on 16 and a 200 page before; a personal token is welcome on 11 only', async () => {
  for (const [variant, type, personal, text] of [
    ['11', /^text\/html/, 200, /"preferred_username":"bob"/],
    ['15', /^text\/html/, 401, /^no valid authorization/],
    ['16', /^application\/json/, 401, incorrect],
  ] as const) {
    await using wire = await startWire({ variant });
    const { access_token } = await wire.tokens();
    wire.forgejo.control.bar('alice');
    const barred = await userinfo(wire, access_token);
    assert.equal(barred.status, 200);
    assert.match(barred.headers.get('content-type') ?? '', type);
    const token = wire.forgejo.control.createAccessToken('bob', ['all']);
    const answer = await userinfo(wire, token);
    assert.equal(answer.status, personal);
    assert.match(answer.text, text);
  }
});

test('introspection tells the granted scope, also of used refresh tokens and barred users', async () => {
  await using wire = await startWire();
  const scope = 'openid read:user';
  const { access_token, refresh_token } = await wire.tokens('alice', { scope });
  await wire.refresh(refresh_token);
  wire.forgejo.control.bar('alice');
  for (const token of [access_token, refresh_token]) {
    assert.deepEqual(JSON.parse((await wire.introspect(token)).text), {
      active: true,
      scope,
      username: 'alice',
      iss: wire.forgejo.url,
      sub: '2',
      aud: [wire.clientId],
    });
  }
  const personal = wire.forgejo.control.createAccessToken('bob', ['all']);
  assert.deepEqual(JSON.parse((await wire.introspect(personal)).text), { active: false });
});

test('introspection takes Basic only, and up to 15 an inactive token is a 401', async () => {
  await using wire = await startWire({ variant: '15' });
  for (const authorization of ['Bearer x', basic(wire.clientId, 'wrong'), basic('x', '')]) {
    const refused = await wire.web('/login/oauth/introspect', { method: 'POST', headers: { authorization } });
    assert.deepEqual([refused.status, refused.text], [401, 'no valid authorization\n']);
    assert.equal(refused.headers.get('www-authenticate'), 'Basic realm=""');
  }
  const inactive = await wire.introspect('x');
  assert.equal(inactive.status, 401);
  assert.match(inactive.text, incorrect);
});

test('the issuer ends with a slash on 11 and without one from 15 on', async () => {
  for (const [variant, suffix] of [
    ['11', '/'],
    ['15', ''],
    ['16', ''],
  ] as const) {
    await using wire = await startWire({ variant });
    const discovery = JSON.parse((await wire.web('/.well-known/openid-configuration')).text);
    assert.equal(discovery.issuer, wire.forgejo.url + suffix);
    assert.equal(discovery.registration_endpoint, undefined);
  }
});

test('there is no other discovery document, no revocation, and no CORS', async () => {
  await using wire = await startWire();
  assert.equal((await wire.web('/.well-known/oauth-authorization-server')).status, 404);
  assert.equal((await wire.web('/login/oauth/revoke', { method: 'POST' })).status, 404);
  const headers = { origin: 'https://app.test', 'access-control-request-method': 'POST' };
  for (const path of [
    '/login/oauth/access_token',
    '/login/oauth/keys',
    '/.well-known/openid-configuration',
  ]) {
    const preflight = await wire.web(path, { method: 'OPTIONS', headers });
    assert.equal(preflight.status, 405);
    assert.equal(preflight.headers.get('access-control-allow-origin'), null);
  }
});

test('a user revokes an application on the settings page, and its tokens end at once', async () => {
  await using wire = await startWire({ variant: '11', subPath: '/git' });
  const { access_token } = await wire.tokens();
  const browser = await wire.signedIn();
  const { action, fields } = formOf(await browser.get(`${wire.forgejo.url}/user/settings/applications`));
  const others = await wire.signedIn('bob');
  const own = formOf(await others.get(`${wire.forgejo.url}/`));
  assert.equal((await others.post(action, own.fields)).status, 404, 'nobody revokes for others');
  const revoked = await browser.post(action, fields);
  assert.deepEqual(JSON.parse(revoked.body), { redirect: '/git/user/settings/applications' });
  assert.equal((await wire.api('/user', access_token)).status, 401);
  assert.equal((await userinfo(wire, access_token)).status, 401);
});

test('pages write what users wrote as text', async () => {
  await using wire = await startWire({}, { name: '<script>alert(1)</script>' });
  const browser = await wire.signedIn();
  const page = await browser.get(wire.authorizeUrl({ state: '"><b>' }));
  assert.doesNotMatch(page.body, /<script>|<b>/);
  assert.match(page.body, /&lt;script&gt;/);
  assert.match(page.body, /With scopes: read:user\./);
  assert.equal(formOf(page).fields.state, '"><b>');
});

test('a private repository shows its page to its owner only', async () => {
  await using wire = await startWire();
  const url = `${wire.forgejo.url}/alice/diary`;
  assert.equal((await (await wire.signedIn()).get(url)).status, 200);
  assert.equal((await (await wire.signedIn('bob')).get(url)).status, 404);
});
