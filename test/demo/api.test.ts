/** The API, userinfo and introspection: who a credential speaks for, and what a refusal gives away. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Answer, basic, redirectUri, startWire, type Wire } from './wire.js';

const ghost = 'user does not exist [uid: 0, name: ]';
const lacks = (...scopes: string[]) =>
  `token does not have at least one of required scope(s): [${scopes.join(' ')}]`;

function messageOf(answer: Answer): string {
  return JSON.parse(answer.text).message;
}

async function issueIn(wire: Wire, repository: string, token?: string, title = 'T') {
  const init = { method: 'POST', body: JSON.stringify({ title }) };
  return await wire.api(`/repos/${repository}/issues`, token, init);
}

test('the user is an object with a numeric id, and both login and username', async () => {
  await using wire = await startWire();
  const { access_token } = await wire.tokens();
  const answer = await wire.api('/user', access_token);
  assert.equal(answer.headers.get('content-type'), 'application/json;charset=utf-8');
  assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
  const user = JSON.parse(answer.text);
  assert.deepEqual(
    [user.id, user.login, user.username, user.created],
    [2, 'alice', 'alice', '2026-07-01T12:00:00Z'],
  );
  assert.equal(user.html_url, `${wire.forgejo.url}/alice`);
});

test('the version is open to anyone but to a bad credential', async () => {
  await using wire = await startWire();
  const { control } = wire.forgejo;
  assert.deepEqual(JSON.parse((await wire.api('/version')).text), { version: '16.0.1+gitea-1.22.0' });
  control.change({ version: '11.0.13+gitea-1.22.0' });
  assert.match((await wire.api('/version')).text, /11\.0\.13/);
  assert.equal((await wire.api('/version', 'bad')).status, 401);
  const token = control.createAccessToken('alice', ['read:issue']);
  assert.equal((await wire.api('/version', token)).status, 200);
  control.change({ requireSigninView: true });
  const refused = await wire.api('/version');
  const message = 'Only signed in user is allowed to call APIs.';
  assert.deepEqual([refused.status, JSON.parse(refused.text)], [403, { message }]);
  assert.equal((await wire.api('/version', token)).status, 200);
});

test('no credential is a 401 with the url of the API’s description and no challenge', async () => {
  await using wire = await startWire();
  const answer = await wire.api('/user');
  assert.equal(answer.status, 401);
  assert.deepEqual(JSON.parse(answer.text), {
    message: 'token is required',
    url: `${wire.forgejo.url}/api/swagger`,
  });
  assert.equal(answer.headers.get('www-authenticate'), null);
});

test('11 and 15 name nobody for a bad JWT; 15 repeats a bad access token once', async () => {
  for (const variant of ['11', '15'] as const) {
    await using wire = await startWire({ variant });
    const { access_token } = await wire.tokens();
    wire.passSeconds(3600);
    assert.equal(messageOf(await wire.api('/user', access_token)), ghost);
    const bad = messageOf(await wire.api('/user', 'deadbeef'));
    assert.equal(bad, variant === '11' ? ghost : 'access token does not exist [sha: deadbeef]');
  }
});

test('16 repeats any bad token twice, one line for each method it tried', async () => {
  await using wire = await startWire();
  const { access_token, refresh_token } = await wire.tokens();
  const lines = async (token: string) => messageOf(await wire.api('/user', token)).split('\n');
  assert.equal((await lines(refresh_token))[0], 'token was not an oauth2 access token');
  wire.passSeconds(-1);
  assert.equal((await lines(access_token))[0], 'token was expired');
  wire.passSeconds(3601);
  assert.deepEqual(await lines(access_token), [
    'token has invalid claims: token is expired',
    `access token does not exist [sha: ${access_token}]`,
    'token is unverifiable: error while executing keyfunc: unexpected signing method: RS256',
    `task with token "${access_token}": resource does not exist`,
    'authorized integration: parse JWT error: token is unverifiable: error while executing keyfunc: invalid `iss` claim: ""',
  ]);
  wire.forgejo.control.revokeGrant('alice');
  wire.passSeconds(-3600);
  assert.equal((await lines(access_token))[0], 'oauth2 grant not found or revoked');
  wire.forgejo.control.rotateSigningKey();
  assert.equal((await lines(access_token))[0], 'token signature is invalid: crypto/rsa: verification error');
  const [first, second] = await lines('deadbeef');
  assert.equal(first, 'token is malformed: token contains an invalid number of segments');
  assert.equal(second, 'access token does not exist [sha: deadbeef]');
});

test('tokens are taken from Bearer, token, Basic and the query, the query first', async () => {
  await using wire = await startWire();
  const token = wire.forgejo.control.createAccessToken('bob', ['read:user']);
  const { login, password } = wire.user('alice');
  const loginBy = async (authorization: string, query = '') => {
    const answer = await wire.api(`/user${query}`, undefined, { headers: { authorization } });
    return JSON.parse(answer.text).login;
  };
  for (const authorization of [
    `Bearer ${token}`,
    `bearer ${token}`,
    `TOKEN ${token}`,
    basic('anyone', token),
    basic(token, ''),
    basic(token, 'x-oauth-basic'),
  ]) {
    assert.equal(await loginBy(authorization), 'bob');
  }
  assert.equal(await loginBy(basic(login, password)), 'alice');
  assert.equal(await loginBy('token bad', `?access_token=${token}`), 'bob');
  assert.ok((await wire.api(`/user?token=${token}`)).headers.has('warning'));
});

test('11 knows the scheme token in lower case only', async () => {
  await using wire = await startWire({ variant: '11' });
  const token = wire.forgejo.control.createAccessToken('bob', ['read:user']);
  const asked = (authorization: string) => wire.api('/user', undefined, { headers: { authorization } });
  assert.equal((await asked(`Token ${token}`)).status, 401);
  assert.equal((await asked(`BEARER ${token}`)).status, 200);
});

test('a scope that names nothing known is full access', async () => {
  for (const scope of ['', 'openid', 'read:users', 'read:user,read:issue']) {
    await using wire = await startWire();
    const { access_token } = await wire.tokens('alice', { scope });
    const made = await issueIn(wire, 'alice/diary', access_token);
    assert.equal(made.status, 201, `scope "${scope}"`);
  }
});

test('a known scope limits, write implies read, and every required scope is needed', async () => {
  await using wire = await startWire();
  const { access_token } = await wire.tokens('alice', { scope: 'openid write:user nonsense' });
  assert.equal((await wire.api('/user', access_token)).status, 200);
  for (const [answer, message] of [
    [await wire.api('/user/repos', access_token), lacks('read:user', 'read:repository')],
    [await wire.api('/user/orgs', access_token), lacks('read:user', 'read:organization')],
    [await wire.api('/repos/alice/garden', access_token), lacks('read:repository')],
    [await wire.api('/repos/alice/garden/issues', access_token), lacks('read:issue')],
    [await issueIn(wire, 'alice/garden', access_token), lacks('write:issue')],
  ] as const) {
    assert.deepEqual([answer.status, messageOf(answer)], [403, message]);
  }
});

test('private repositories are not found by others, and public ones are open to anyone', async () => {
  await using wire = await startWire();
  const { control } = wire.forgejo;
  const scopes = ['read:user', 'write:repository', 'write:issue'];
  const alice = control.createAccessToken('alice', scopes);
  const bob = control.createAccessToken('bob', scopes);
  const names = async (token: string) => {
    const listed: Array<{ full_name: string }> = JSON.parse((await wire.api('/user/repos', token)).text);
    return listed.map((repository) => repository.full_name);
  };
  assert.deepEqual(await names(alice), ['alice/garden', 'alice/diary']);
  assert.deepEqual(await names(bob), ['bob/workshop', 'bob/ledger']);
  assert.equal((await wire.api('/repos/alice/diary', alice)).status, 200);
  for (const hidden of [
    await wire.api('/repos/alice/diary', bob),
    await wire.api('/repos/alice/diary'),
    await issueIn(wire, 'alice/diary', bob),
    await wire.api('/repos/alice/nothing', alice),
    await wire.api('/nothing'),
  ]) {
    assert.deepEqual([hidden.status, messageOf(hidden)], [404, "The target couldn't be found."]);
  }
  assert.equal((await wire.api('/repos/alice/garden')).status, 200);
  assert.equal((await issueIn(wire, 'alice/garden')).status, 401);
  assert.equal((await issueIn(wire, 'alice/garden', bob, 'Hello')).status, 201);
  assert.equal((await issueIn(wire, 'alice/garden', bob, ' ')).status, 422);
  const [issue] = JSON.parse((await wire.api('/repos/alice/garden/issues')).text);
  assert.deepEqual([issue.number, issue.title, issue.user.login], [1, 'Hello', 'bob']);
});

test('a public-only token stops at private repositories', async () => {
  await using wire = await startWire();
  const token = wire.forgejo.control.createAccessToken('alice', [
    'public-only',
    'read:repository',
    'read:issue',
  ]);
  assert.equal((await wire.api('/repos/alice/garden', token)).status, 200);
  const refused = await wire.api('/repos/alice/diary', token);
  assert.deepEqual([refused.status, messageOf(refused)], [403, 'token scope is limited to public repos']);
  const issues = await wire.api('/repos/alice/diary/issues', token);
  assert.equal(messageOf(issues), 'token scope is limited to public issues');
});

test('a repository-specific token reaches its repositories and never tells whose it is', async () => {
  await using wire = await startWire();
  const { control } = wire.forgejo;
  const token = control.createAccessToken('alice', ['read:repository', 'write:issue'], ['alice/diary']);
  assert.equal((await issueIn(wire, 'alice/diary', token)).status, 201);
  assert.equal((await wire.api('/repos/alice/garden', token)).status, 404);
  const refused = await wire.api('/user', token);
  assert.deepEqual([refused.status, messageOf(refused)], [403, lacks('read:user')]);
  assert.throws(() => control.createAccessToken('alice', ['read:user'], ['alice/diary']));
});

test('an account that is barred is a 403 of its own kind on every route', async () => {
  await using wire = await startWire();
  const { access_token } = await wire.tokens();
  for (const [status, message] of [
    ['prohibited', 'This account is prohibited from signing in, please contact your site administrator.'],
    ['unactivated', 'This account is not activated.'],
    [
      'must-change-password',
      `You must change your password. Change it at: ${wire.forgejo.url}//user/change_password`,
    ],
  ] as const) {
    wire.forgejo.control.bar('alice', status);
    for (const path of ['/user', '/version']) {
      const refused = await wire.api(path, access_token);
      assert.deepEqual([refused.status, JSON.parse(refused.text)], [403, { message }]);
    }
  }
});

test('an application made through the API is public unless it says otherwise, and a change regenerates its secret', async () => {
  await using wire = await startWire();
  const { login, password } = wire.user('alice');
  const ask = async (path: string, method: string, body?: object) => {
    const init = {
      method,
      headers: { authorization: basic(login, password) },
      ...(body && { body: JSON.stringify(body) }),
    };
    return await wire.api(`/user/applications/oauth2${path}`, undefined, init);
  };
  const body = { name: 'x', redirect_uris: [redirectUri] };
  const made = await ask('', 'POST', body);
  assert.equal(made.status, 201);
  const application = JSON.parse(made.text);
  assert.match(application.client_secret, /^gto_[a-z2-7]{52}$/);
  assert.equal(application.confidential_client, false);
  assert.equal((await ask('', 'POST', {})).status, 422);
  const path = `/${application.id}`;
  assert.equal(JSON.parse((await ask(path, 'GET')).text).client_secret, '');
  const changed = JSON.parse((await ask(path, 'PATCH', { ...body, confidential_client: true })).text);
  assert.notEqual(changed.client_secret, application.client_secret);
  assert.equal(changed.client_id, application.client_id);
  assert.equal(JSON.parse((await ask('', 'GET')).text).length, 1);
  assert.equal((await ask(path, 'DELETE')).status, 204);
  assert.equal((await ask(path, 'GET')).status, 404);
});

test('an access token is made with the password only and lists itself by its last eight', async () => {
  await using wire = await startWire();
  const { login, password } = wire.user('alice');
  const make = async (authorization: string, scopes: readonly string[]) =>
    await wire.api('/users/alice/tokens', undefined, {
      method: 'POST',
      headers: { authorization },
      body: JSON.stringify({ name: 't', scopes }),
    });
  const made = await make(basic(login, password), ['write:user']);
  assert.equal(made.status, 201);
  const { sha1 } = JSON.parse(made.text);
  assert.match(sha1, /^[0-9a-f]{40}$/);
  const refused = await make(`token ${sha1}`, ['write:user']);
  assert.deepEqual([refused.status, messageOf(refused)], [401, 'auth method not allowed']);
  assert.equal((await make(basic(login, password), [])).status, 400);
  const [listed] = JSON.parse((await wire.api('/users/alice/tokens', sha1)).text);
  assert.deepEqual(
    [listed.sha1, listed.token_last_eight, listed.scopes],
    ['', sha1.slice(-8), ['write:user']],
  );
});
