/** Attacks on the authorization request and its answer: RFC 9700 §4.1 to §4.8, §4.11, and MCP's security best practices. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Browser } from '../support/browser.js';
import { startDocumentHost } from '../support/document-host.js';
import { parseForms } from '../support/html.js';
import { atClient, CHALLENGE, setStage } from '../support/stage.js';

const EVIL = { client_name: 'Claude', redirect_uris: ['https://evil.example/cb'] };

describe('confused deputy', () => {
  test("a stranger's client does not ride on the user's old consent at Forgejo: the user is asked here, first", async () => {
    await using it = await setStage();
    const browser = new Browser();
    await it.signIn(undefined, browser);
    const asked = it.broker.forgejo.faults.count('/login/oauth/authorize');
    const evil = await it.register(EVIL);
    const page = await browser.open(it.authorizationUrl(evil));
    assert.equal(page.status, 200);
    assert.equal(page.location, undefined);
    assert.ok(page.body.includes('evil.example'), 'the page says where the answer would go');
    assert.equal(it.broker.forgejo.faults.count('/login/oauth/authorize'), asked, 'Forgejo was not asked');
  });

  test('the same client is asked about again each time: no consent is remembered for another to use', async () => {
    await using it = await setStage();
    const browser = new Browser();
    await it.signIn(undefined, browser);
    for (const more of [{}, { prompt: 'none' }, { scope: 'mcp' }]) {
      const page = await browser.open(it.authorizationUrl(it.client, more));
      assert.equal(page.location, undefined);
      assert.equal(page.forms.length, 1);
    }
  });
});

describe('redirect URI manipulation (RFC 9700 §4.1)', () => {
  const REGISTERED = 'https://client.example/cb';
  const VARIANTS = [
    'https://client.example/cb/',
    'https://client.example/cb/../evil',
    'https://client.example/cb?x=1',
    'https://client.example/cb#x',
    'https://client.example/CB',
    'https://client.example:444/cb',
    'https://client.example@evil.example/cb',
    'https://client.example.evil.example/cb',
    'https://evil.example/https://client.example/cb',
    'http://client.example/cb',
    '//client.example/cb',
    'https://client.example\\@evil.example/cb',
    'javascript:alert(1)',
    ' https://client.example/cb',
  ];
  test('no variant of a registered URI gets an answer, a redirect, or a link', async () => {
    await using it = await setStage();
    const client = await it.register({ redirect_uris: [REGISTERED] });
    for (const redirectUri of VARIANTS) {
      const page = await new Browser().open(it.authorizationUrl({ ...client, redirectUri }));
      assert.equal(page.status, 400, redirectUri);
      assert.equal(page.location, undefined);
      assert.ok(!page.body.includes('evil') && !page.body.includes('<a '), redirectUri);
    }
  });

  test('what cannot be registered cannot be used later', async () => {
    await using it = await setStage();
    for (const uri of [
      'javascript:alert(1)',
      'JavaScript:alert(1)',
      'data:text/html,x',
      'vbscript:x',
      'file:///etc/passwd',
      'blob:https://client.example/x',
      'http://client.example/cb',
      'http://localhost.evil.example/cb',
      'http://127.0.0.1.evil.example/cb',
      'http://127.0.0.1@evil.example/cb',
      'https://user@client.example/cb',
      'https://client.example/cb#x',
      'https:client.example/cb',
      'https:///client.example/cb',
      'https:\\\\client.example/cb',
      'https://client.example/\\evil',
      'https://client.example/cb\r\nSet-Cookie: x=1',
      'https://cliënt.example/cb',
      '/cb',
      '',
    ]) {
      const response = await fetch(`${it.broker.url}/oauth/register`, {
        method: 'POST',
        body: JSON.stringify({ redirect_uris: [REGISTERED, uri] }),
      });
      assert.equal(response.status, 400, uri);
    }
  });
});

describe('open redirector (RFC 9700 §4.11)', () => {
  const BROKEN = [
    { response_type: 'token' },
    { code_challenge: '' },
    { resource: 'https://evil.example/mcp' },
    { request: 'x' },
    { prompt: 'none', response_type: 'x' },
  ];

  test("a broken request of a stranger's client sends nobody there: the user decides", async () => {
    await using it = await setStage();
    const evil = await it.register(EVIL);
    for (const more of BROKEN) {
      const page = await new Browser().open(it.authorizationUrl(evil, more));
      assert.equal(page.status, 400);
      assert.equal(page.location, undefined);
      assert.equal(page.headers.get('refresh'), null);
      assert.match(
        page.body,
        /<a href="https:\/\/evil\.example\/cb\?error=[^"]*" rel="noreferrer">(<code>)?evil\.example/,
      );
    }
  });

  test("so does a stranger's document", async () => {
    await using host = await startDocumentHost();
    await using it = await setStage({ network: host.network });
    const id = `${host.url}/client.json`;
    host.serve('/client.json', { client_id: id, redirect_uris: ['https://evil.example/cb'] });
    const evil = { clientId: id, redirectUri: 'https://evil.example/cb' };
    const page = await new Browser().open(it.authorizationUrl(evil, { response_type: 'token' }));
    assert.equal(page.location, undefined);
  });

  test("a broken request of a client on the user's computer, or of one we know, goes back with its error", async () => {
    await using it = await setStage();
    const claude = {
      clientId: 'https://claude.ai/oauth/mcp-oauth-client-metadata',
      redirectUri: 'https://claude.ai/api/mcp/auth_callback',
    };
    for (const client of [it.client, claude]) {
      const url = it.authorizationUrl(client, { response_type: 'token' });
      const { location } = await new Browser().open(url, atClient);
      assert.ok(location?.href.startsWith(client.redirectUri));
      assert.equal(location?.searchParams.get('error'), 'unsupported_response_type');
    }
  });

  test('no parameter of any page leads a browser elsewhere', async () => {
    await using it = await setStage();
    for (const path of [
      '/',
      '/oauth/authorize',
      '/oauth/callback',
      '/oauth/consent',
      '/nowhere',
      '//evil.example',
    ]) {
      const query = 'redirect_uri=https://evil.example&next=//evil.example&url=//evil.example&state=x&code=x';
      const page = await new Browser().open(`${it.broker.url}${path}?${query}`);
      assert.equal(page.location, undefined, path);
      assert.ok(!page.body.includes('evil.example'), path);
    }
  });
});

describe('PKCE downgrade (RFC 9700 §4.8.2)', () => {
  test('a request without a challenge, or with plain, or with an empty one, gets no consent page', async () => {
    await using it = await setStage();
    for (const more of [
      { code_challenge: '', code_challenge_method: '' },
      { code_challenge_method: '' },
      { code_challenge_method: 'plain' },
      { code_challenge_method: 's256' },
      { code_challenge: `${CHALLENGE}=` },
    ]) {
      const { location } = await new Browser().open(it.authorizationUrl(it.client, more), atClient);
      assert.equal(location?.searchParams.get('error'), 'invalid_request', JSON.stringify(more));
    }
  });

  test('a code is not redeemed without its verifier, or with the challenge in its place, and is not used up by the try', async () => {
    await using it = await setStage();
    const code = await it.code();
    for (const verifier of ['', CHALLENGE, 'x'.repeat(43), 'short']) {
      const { status, body } = await it.redeem(code, { code_verifier: verifier });
      assert.equal(status, 400, verifier);
      assert.match(String(body.error), /invalid_(grant|request)/);
    }
    assert.equal((await it.redeem(code)).status, 200);
  });
});

describe('code injection (RFC 9700 §4.5)', () => {
  test("a stolen code is no good to a thief's client, nor in a session of the honest client that it was not made for", async () => {
    await using it = await setStage();
    const code = await it.code();
    const thief = await it.register(EVIL);
    assert.equal(
      (await it.redeem(code, { client_id: thief.clientId, redirect_uri: '' })).body.error,
      'invalid_grant',
    );
    const another = 'verifier-of-another-session-of-the-same-client-0123';
    assert.equal((await it.redeem(code, { code_verifier: another })).body.error, 'invalid_grant');
    assert.equal(
      (await it.redeem(code, { redirect_uri: 'https://evil.example/cb' })).body.error,
      'invalid_grant',
    );
    assert.equal((await it.redeem(code)).status, 200, 'the honest client still gets its tokens');
  });
});

describe('mix-up (RFC 9700 §4.4)', () => {
  test('every redirect to a client names its issuer: the code, the refusal, the error', async () => {
    await using it = await setStage();
    const success = await it.signIn();
    const browser = new Browser();
    const consent = await browser.open(it.authorizationUrl());
    const cancelled = await browser.submit(consent, { button: 'cancel', ...atClient });
    const denied = await browser.submit(await it.openGrantPage(browser, 'bob'), {
      button: 'false',
      ...atClient,
    });
    const broken = await browser.open(it.authorizationUrl(it.client, { resource: 'x:y' }), atClient);
    for (const location of [success, cancelled.location, denied.location, broken.location]) {
      assert.deepEqual(location?.searchParams.getAll('iss'), [it.broker.url]);
      assert.equal(location?.searchParams.get('state'), 'the state');
    }
    const metadata = await fetch(`${it.broker.url}/.well-known/oauth-authorization-server`);
    assert.equal(((await metadata.json()) as { issuer: string }).issuer, it.broker.url);
  });

  test('an issuer in the request or in the redirect URI does not replace ours', async () => {
    await using it = await setStage();
    const client = await it.register({
      redirect_uris: ['http://127.0.0.1:1/cb?iss=https%3A%2F%2Fevil.example'],
    });
    const location = await it.signIn(it.authorizationUrl(client, { iss: 'https://evil.example' }));
    assert.equal(location.searchParams.getAll('iss').at(-1), it.broker.url);
  });
});

test('parameters of other dialects change nothing: the answer is a query, the user is asked', async () => {
  await using it = await setStage();
  for (const more of [
    { response_mode: 'fragment' },
    { response_mode: 'form_post' },
    { response_mode: 'web_message' },
    { prompt: 'none' },
    { max_age: '0' },
    { login_hint: 'bob' },
    { id_token_hint: 'x' },
    { display: 'popup' },
    { claims: '{"x":1}' },
    { nonce: 'x', acr_values: 'y', ui_locales: 'xx', registration: '{}', dpop_jkt: 'x' },
  ]) {
    const browser = new Browser();
    const page = await browser.open(it.authorizationUrl(it.client, more));
    assert.equal(page.status, 200, JSON.stringify(more));
    const { location } = await browser.submit(page, { button: 'cancel', ...atClient });
    assert.equal(location?.hash, '');
    assert.equal(location?.searchParams.get('error'), 'access_denied');
  }
});

test('a redirect after a post is 303: what the user posted is not posted on (RFC 9700 §4.12)', async () => {
  await using it = await setStage();
  for (const decision of ['continue', 'cancel']) {
    const browser = new Browser();
    const page = await browser.open(it.authorizationUrl());
    const [form] = parseForms(page.body);
    const csrf = form?.fields.get('csrf') ?? '';
    const fields = { pending: form?.fields.get('pending') ?? '', csrf, decision };
    const answer = await browser.post(`${it.broker.url}/oauth/consent`, fields);
    assert.equal(answer.status, 303, decision);
    assert.ok(!answer.location?.href.includes(csrf));
  }
});

test('a state too long to keep is refused, and still comes back with the refusal', async () => {
  await using it = await setStage();
  const kept = await new Browser().open(it.authorizationUrl(it.client, { state: 's'.repeat(4096) }));
  assert.equal(kept.status, 200);
  const state = 's'.repeat(4097);
  const { location } = await new Browser().open(it.authorizationUrl(it.client, { state }), atClient);
  assert.equal(location?.searchParams.get('error'), 'invalid_request');
  assert.equal(location?.searchParams.get('state'), state);
});
