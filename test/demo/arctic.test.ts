/** arctic's Gitea provider is the broker's own way to Forgejo; what it accepts from the stand-in it accepts from Forgejo. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gitea, generateCodeVerifier, OAuth2RequestError, UnexpectedResponseError } from 'arctic';
import type { ForgejoOptions } from '../../src/demo/forgejo/forgejo.js';
import { demoUsers } from '../../src/demo/forgejo/seed.js';
import { Browser, signIn } from '../support/browser.js';
import { startForgejo } from '../support/forgejo.js';

const alice = { login: 'alice', password: 'down the hole' };
const redirectUri = 'http://127.0.0.1:9/callback';

async function startWithArctic(options: ForgejoOptions = {}, confidential = true) {
  const forgejo = await startForgejo({ users: demoUsers({ alice: alice.password }), ...options });
  const application = forgejo.createApplication({
    name: 'broker',
    redirectUris: [redirectUri],
    confidential,
  });
  const secret = confidential ? application.clientSecret : null;
  return { forgejo, gitea: new Gitea(forgejo.url, application.clientId, secret, redirectUri) };
}

async function logIn(gitea: Gitea) {
  const verifier = generateCodeVerifier();
  const authorizeUrl = gitea.createAuthorizationURL('a state', verifier, ['read:user', 'write:issue']);
  const back = await signIn(new Browser(), authorizeUrl, alice);
  assert.equal(back.searchParams.get('state'), 'a state');
  return await gitea.validateAuthorizationCode(back.searchParams.get('code') ?? '', verifier);
}

for (const options of [{ variant: '11' }, { variant: '15', subPath: '/git' }, { variant: '16' }] as const) {
  test(`arctic signs in and refreshes at ${JSON.stringify(options)}`, async () => {
    const { forgejo, gitea } = await startWithArctic(options);
    await using _ = forgejo;
    const first = await logIn(gitea);
    assert.equal(first.tokenType(), 'bearer');
    assert.equal(first.accessTokenExpiresInSeconds(), 3600);
    assert.equal(first.hasScopes(), false);
    const second = await gitea.refreshAccessToken(first.refreshToken());
    const answer = await fetch(`${forgejo.url}/api/v1/user`, {
      headers: { authorization: `token ${second.accessToken()}` },
    });
    assert.equal(answer.status, 200);
    assert.match(await answer.text(), /"login":"alice"/);
  });
}

test('arctic signs in as a public client', async () => {
  const { forgejo, gitea } = await startWithArctic({}, false);
  await using _ = forgejo;
  const tokens = await logIn(gitea);
  assert.ok(tokens.hasRefreshToken());
  await gitea.refreshAccessToken(tokens.refreshToken());
});

test('arctic reads a refusal as its error and description', async () => {
  const { forgejo, gitea } = await startWithArctic();
  await using _ = forgejo;
  const tokens = await logIn(gitea);
  await gitea.refreshAccessToken(tokens.refreshToken());
  await assert.rejects(gitea.refreshAccessToken(tokens.refreshToken()), (error) => {
    assert.ok(error instanceof OAuth2RequestError);
    assert.equal(error.code, 'unauthorized_client');
    assert.equal(error.description, 'token was already used');
    return true;
  });
});

test('arctic meets a switched-off provider as a plain 403', async () => {
  const { forgejo, gitea } = await startWithArctic();
  await using _ = forgejo;
  forgejo.control.change({ oauthEnabled: false });
  await assert.rejects(gitea.refreshAccessToken('any'), (error) => {
    assert.ok(error instanceof UnexpectedResponseError);
    assert.equal(error.status, 403);
    return true;
  });
});
