/** The whole sign-in as a browser does it, against the stand-in Forgejo on real sockets. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { MINUTE } from '../../src/base/clock.js';
import { startTestBroker, type TestBroker, type TestBrokerOptions } from '../support/broker.js';
import { Browser, loginFields, type Page, signIn } from '../support/browser.js';
import {
  authorize,
  discover,
  NOWHERE,
  obtainTokens,
  type RegisteredClient,
  refresh,
  register,
} from '../support/oauth-client.js';

const VERIFIER = randomBytes(32).toString('base64url');
const CHALLENGE = createHash('sha256').update(VERIFIER).digest('base64url');

function authorizationUrl(
  broker: TestBroker,
  client: RegisteredClient,
  more: Record<string, string> = {},
): string {
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: client.clientId,
    redirect_uri: client.redirectUri,
    code_challenge: CHALLENGE,
    code_challenge_method: 'S256',
    state: 'the state',
    ...more,
  });
  return `${broker.url}/oauth/authorize?${query}`;
}

async function withClient(options: TestBrokerOptions = {}) {
  const broker = await startTestBroker(options);
  const client = await register(await discover(broker.mcpUrl));
  /** What the client gets when alice signs in. */
  const code = async () => {
    const answer = await signIn(new Browser(), authorizationUrl(broker, client), broker.person('alice'));
    return answer.searchParams.get('code');
  };
  const redeem = (code: string | null, more: Record<string, string> = {}) =>
    fetch(`${broker.url}/oauth/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        code: code ?? '',
        client_id: client.clientId,
        code_verifier: VERIFIER,
        redirect_uri: client.redirectUri,
        ...more,
      }),
    });
  /** The HTTP status of a request that needs nothing but a good token. */
  const statusWith = async (token: string) => {
    const response = await fetch(broker.mcpUrl, {
      method: 'HEAD',
      headers: { Authorization: `Bearer ${token}` },
    });
    return response.status;
  };
  const close = () => broker[Symbol.asyncDispose]();
  return { broker, client, code, redeem, statusWith, [Symbol.asyncDispose]: close };
}

/** From the broker's consent through the login of alice to the consent page of Forgejo. */
async function openGrantPage(browser: Browser, broker: TestBroker, client: RegisteredClient): Promise<Page> {
  const consent = await browser.open(authorizationUrl(broker, client));
  const login = await browser.submit(consent, { button: 'continue' });
  return await browser.submit(login, { fields: loginFields(broker.person('alice')) });
}

const stopAtClient = { stopAt: (url: URL) => url.href.startsWith(NOWHERE) };

describe('signing in', () => {
  test('two users with two clients get tokens of their own, and a second login asks Forgejo for nothing', async () => {
    await using broker = await startTestBroker();
    const discovery = await discover(broker.mcpUrl);
    const [one, two] = [await register(discovery), await register(discovery)];
    const [alice, bob] = [new Browser(), new Browser()];
    const tokens = [
      await authorize(discovery, one, broker.person('alice'), alice),
      await authorize(discovery, one, broker.person('bob'), bob),
      await authorize(discovery, two, broker.person('alice'), alice),
      await authorize(discovery, two, broker.person('bob'), bob),
    ];
    assert.equal(new Set(tokens.map(({ access_token }) => access_token)).size, 4);
    assert.equal(broker.forgejo.faults.count('/user/login'), 4);
    for (const { access_token, refresh_token, scope } of tokens) {
      assert.equal(scope, 'mcp');
      assert.ok(refresh_token);
      const response = await fetch(broker.mcpUrl, {
        method: 'HEAD',
        headers: { Authorization: `Bearer ${access_token}` },
      });
      assert.notEqual(response.status, 401);
    }
  });

  test('the consent page says who asks and where the answer goes, and a hostile name stays text', async () => {
    await using it = await withClient();
    const response = await fetch(`${it.broker.url}/oauth/register`, {
      method: 'POST',
      body: JSON.stringify({
        client_name: '<script>alert(1)</script>\u202eevil',
        redirect_uris: ['https://client.example/cb'],
        token_endpoint_auth_method: 'none',
      }),
    });
    const { client_id } = (await response.json()) as { client_id: string };
    const browser = new Browser();
    const page = await browser.open(
      authorizationUrl(it.broker, { clientId: client_id, redirectUri: 'https://client.example/cb' }),
    );
    assert.equal(page.status, 200);
    assert.ok(page.body.includes('&lt;script&gt;alert(1)'));
    assert.ok(!page.body.includes('<script') && !page.body.includes('\u202e'));
    assert.ok(page.body.includes('client.example'));
    assert.match(page.headers.get('content-security-policy') ?? '', /frame-ancestors 'none'/);
    assert.equal(page.headers.get('cache-control'), 'no-store');
    const local = await browser.open(authorizationUrl(it.broker, it.client));
    assert.ok(local.body.includes('this computer'));
  });

  test('Cancel sends access_denied with state and iss to the client', async () => {
    await using it = await withClient();
    const browser = new Browser();
    const page = await browser.open(authorizationUrl(it.broker, it.client));
    const { location } = await browser.submit(page, { button: 'cancel', ...stopAtClient });
    assert.equal(location?.searchParams.get('error'), 'access_denied');
    assert.equal(location?.searchParams.get('state'), 'the state');
    assert.equal(location?.searchParams.get('iss'), it.broker.url);
  });

  test('No at Forgejo is access_denied at the client', async () => {
    await using it = await withClient();
    const browser = new Browser();
    const grant = await openGrantPage(browser, it.broker, it.client);
    const { location } = await browser.submit(grant, { button: 'false', ...stopAtClient });
    assert.equal(location?.searchParams.get('error'), 'access_denied');
  });

  test('a user who is not on the list, or is barred, is denied with a reason', async () => {
    await using it = await withClient({ env: { BROKER_ALLOWED_USERS: 'alice' } });
    const answer = await signIn(
      new Browser(),
      authorizationUrl(it.broker, it.client),
      it.broker.person('bob'),
    );
    assert.equal(answer.searchParams.get('error'), 'access_denied');
    assert.match(answer.searchParams.get('error_description') ?? '', /may not be used/);
  });

  test('an unknown client and an unregistered redirect URI get a page and no redirect', async () => {
    await using it = await withClient();
    const browser = new Browser();
    for (const client of [
      { ...it.client, clientId: 'cl_unknown' },
      { ...it.client, redirectUri: 'https://evil.example/cb' },
    ]) {
      const page = await browser.open(authorizationUrl(it.broker, client));
      assert.equal(page.status, 400);
      assert.equal(page.headers.get('location'), null);
    }
  });

  test('other mistakes are redirected to the client with iss', async () => {
    await using it = await withClient();
    const url = authorizationUrl(it.broker, it.client, { code_challenge_method: 'plain' });
    const { location } = await new Browser().open(url, stopAtClient);
    assert.equal(location?.searchParams.get('error'), 'invalid_request');
    assert.equal(location?.searchParams.get('iss'), it.broker.url);
  });
});

describe('a pending authorization', () => {
  test('belongs to the browser that began it', async () => {
    await using it = await withClient();
    const page = await new Browser().open(authorizationUrl(it.broker, it.client));
    const stranger = new Browser();
    await stranger.open(authorizationUrl(it.broker, it.client));
    const refused = await stranger.submit(page, { button: 'continue' });
    assert.equal(refused.status, 400);
    assert.match(refused.body, /has ended/);
  });

  test('moves on only with the token of its own form', async () => {
    await using it = await withClient();
    const browser = new Browser();
    const page = await browser.open(authorizationUrl(it.broker, it.client));
    const refused = await browser.submit(page, { button: 'continue', fields: { csrf: 'guess' } });
    assert.equal(refused.status, 400);
  });

  test('takes the upstream answer once, and only from its own browser', async () => {
    await using it = await withClient();
    const browser = new Browser();
    const grant = await openGrantPage(browser, it.broker, it.client);
    const callback = await browser.submit(grant, {
      button: 'true',
      stopAt: (url) => url.pathname === '/oauth/callback',
    });
    assert.ok(callback.location);
    assert.equal((await new Browser().open(callback.location)).status, 400);
    const answers = await Promise.all([1, 2].map(() => browser.open(callback.location ?? '', stopAtClient)));
    assert.deepEqual(answers.map(({ status }) => status).toSorted(), [303, 400]);
  });

  test('of many tabs does not disturb the others', async () => {
    await using it = await withClient();
    const browser = new Browser();
    const tabs = [];
    for (const state of ['one', 'two', 'three']) {
      tabs.push(await browser.open(authorizationUrl(it.broker, it.client, { state })));
    }
    await signIn(browser, authorizationUrl(it.broker, it.client), it.broker.person('alice'));
    for (const [index, state] of ['one', 'two', 'three'].entries()) {
      const tab = tabs[index];
      assert.ok(tab);
      const { location } = await browser.submit(tab, { button: 'continue', ...stopAtClient });
      assert.equal(location?.searchParams.get('state'), state);
      assert.ok(location?.searchParams.get('code'));
    }
  });

  test('expires with its time', async () => {
    let time = Date.now();
    await using it = await withClient({ now: () => time });
    const browser = new Browser();
    const page = await browser.open(authorizationUrl(it.broker, it.client));
    time += 11 * MINUTE;
    assert.equal((await browser.submit(page, { button: 'continue' })).status, 400);
  });
});

describe('a Forgejo that fails', () => {
  for (const fault of ['badGateway', 'reset', 'hang'] as const) {
    test(`with ${fault} at the start of a login gets a page that offers to try again`, {
      timeout: 60_000,
    }, async () => {
      await using it = await withClient();
      const browser = new Browser();
      const page = await browser.open(authorizationUrl(it.broker, it.client));
      it.broker.forgejo.faults[fault]();
      const failed = await browser.submit(page, { button: 'continue' });
      assert.equal(failed.status, 502);
      assert.match(failed.body, /try again/);
      it.broker.forgejo.faults.clear();
      const login = await browser.submit(failed, { button: 'continue' });
      assert.equal(login.url.pathname, '/user/login');
    });
  }

  test('at the end of a login gets a page that offers to try again', async () => {
    await using it = await withClient();
    const browser = new Browser();
    await signIn(browser, authorizationUrl(it.broker, it.client), it.broker.person('alice'));
    it.broker.forgejo.faults.badGateway('/api/v1/user');
    const page = await browser.open(authorizationUrl(it.broker, it.client));
    const failed = await browser.submit(page, { button: 'continue', ...stopAtClient });
    assert.equal(failed.status, 502);
    it.broker.forgejo.faults.clear();
    const { location } = await browser.submit(failed, { button: 'continue', ...stopAtClient });
    assert.ok(location?.searchParams.get('code'));
  });
});

describe('codes and tokens', () => {
  test('a code is redeemed once, with its verifier and redirect URI; a replay revokes what it gave', async () => {
    await using it = await withClient();
    const code = await it.code();
    for (const wrong of [{ code_verifier: 'x'.repeat(43) }, { redirect_uri: `${NOWHERE}/other` }]) {
      const refused = await it.redeem(code, wrong);
      assert.equal(refused.status, 400);
      assert.equal(((await refused.json()) as { error: string }).error, 'invalid_grant');
    }
    const redeemed = await it.redeem(code);
    const tokens = (await redeemed.json()) as { access_token: string; refresh_token: string };
    assert.notEqual(await it.statusWith(tokens.access_token), 401);
    assert.equal((await it.redeem(code)).status, 400);
    assert.equal(await it.statusWith(tokens.access_token), 401);
  });

  test('ten redemptions of one code at once give one pair at most', async () => {
    await using it = await withClient();
    const code = await it.code();
    const statuses = await Promise.all(
      Array.from({ length: 10 }, async () => (await it.redeem(code)).status),
    );
    assert.equal(statuses.filter((status) => status === 200).length, 1);
  });

  test('code, tokens and client survive a restart; a code expires', async () => {
    let time = Date.now();
    await using it = await withClient({ now: () => time });
    const first = await it.code();
    await it.broker.restart();
    const redeemed = await it.redeem(first);
    assert.equal(redeemed.status, 200);
    const { access_token } = (await redeemed.json()) as { access_token: string };
    await it.broker.restart();
    assert.notEqual(await it.statusWith(access_token), 401);
    const second = await it.code();
    time += 6 * MINUTE;
    assert.equal((await it.redeem(second)).status, 400);
  });

  test('a refresh gives a new pair and leaves the old access token alive', async () => {
    await using broker = await startTestBroker();
    const discovery = await discover(broker.mcpUrl);
    const client = await register(discovery);
    const first = await authorize(discovery, client, broker.person('alice'));
    const pairs = await Promise.all(
      Array.from({ length: 5 }, () => refresh(discovery, client, first.refresh_token ?? '')),
    );
    const all = [first, ...pairs].map(({ access_token }) => access_token);
    assert.equal(new Set(all).size, 6);
    for (const token of all) {
      const { status } = await fetch(broker.mcpUrl, {
        method: 'HEAD',
        headers: { Authorization: `Bearer ${token}` },
      });
      assert.notEqual(status, 401);
    }
  });

  test("a client with a secret must prove itself, either way; another client's tokens are none of its business", async () => {
    await using it = await withClient();
    const response = await fetch(`${it.broker.url}/oauth/register`, {
      method: 'POST',
      body: JSON.stringify({ redirect_uris: [NOWHERE], token_endpoint_auth_method: 'client_secret_post' }),
    });
    const { client_id, client_secret } = (await response.json()) as {
      client_id: string;
      client_secret: string;
    };
    const confidential = { clientId: client_id, redirectUri: NOWHERE };
    const answer = await signIn(
      new Browser(),
      authorizationUrl(it.broker, confidential),
      it.broker.person('alice'),
    );
    const code = answer.searchParams.get('code');
    const asIt = { client_id };
    const bare = await it.redeem(code, asIt);
    assert.equal(bare.status, 401);
    assert.equal(((await bare.json()) as { error: string }).error, 'invalid_client');
    assert.equal((await it.redeem(code, { ...asIt, client_secret: 'wrong' })).status, 401);
    assert.equal((await it.redeem(code)).status, 400);
    const good = await it.redeem(code, { ...asIt, client_secret });
    const tokens = (await good.json()) as { access_token: string; refresh_token: string };
    const revoke = (form: Record<string, string>) =>
      fetch(`${it.broker.url}/oauth/revoke`, { method: 'POST', body: new URLSearchParams(form) });
    const token = tokens.refresh_token;
    assert.equal((await revoke({ token, client_id: it.client.clientId })).status, 200);
    assert.notEqual(await it.statusWith(tokens.access_token), 401);
    assert.equal((await revoke({ token, client_id, client_secret })).status, 200);
    assert.equal(await it.statusWith(tokens.access_token), 401);
    assert.equal((await revoke({ token: 'unknown', client_id, client_secret })).status, 200);
  });

  test("a request the token endpoint cannot read is refused with the standard's code", async () => {
    await using it = await withClient();
    const post = async (body: string, type = 'application/x-www-form-urlencoded') => {
      const response = await fetch(`${it.broker.url}/oauth/token`, {
        method: 'POST',
        body,
        headers: { 'Content-Type': type },
      });
      return [response.status, ((await response.json()) as { error: string }).error];
    };
    const id = `client_id=${it.client.clientId}`;
    assert.deepEqual(await post(`${id}&grant_type=password`), [400, 'unsupported_grant_type']);
    assert.deepEqual(await post(id), [400, 'invalid_request']);
    assert.deepEqual(await post(`${id}&${id}`), [400, 'invalid_request']);
    assert.deepEqual(await post('{}', 'application/json'), [400, 'invalid_request']);
    assert.deepEqual(await post('client_id=cl_deleted&grant_type=refresh_token'), [401, 'invalid_client']);
    assert.deepEqual(await post(`${id}&grant_type=refresh_token&refresh_token=x`), [400, 'invalid_grant']);
    assert.deepEqual(await post(`${id}&x=${'y'.repeat(70_000)}`), [400, 'invalid_request']);
  });
});

test('no token, code, state, cookie, password or key is ever logged', async () => {
  await using it = await withClient();
  const browser = new Browser();
  const alice = it.broker.person('alice');
  const answer = await signIn(browser, authorizationUrl(it.broker, it.client), alice);
  const redeemed = await it.redeem(answer.searchParams.get('code'));
  const tokens = (await redeemed.json()) as { access_token: string; refresh_token: string };
  await it.redeem(answer.searchParams.get('code'));
  await it.statusWith(tokens.access_token);
  await obtainTokens(it.broker.mcpUrl, alice);
  const text = JSON.stringify(it.broker.log);
  const cookie =
    browser.cookies.header(new URL(it.broker.url), { sameSite: true, method: 'GET' })?.split('=')[1] ?? '';
  assert.ok(cookie.length > 20 && it.broker.log.length > 3);
  for (const secret of [
    tokens.access_token,
    tokens.refresh_token,
    answer.searchParams.get('code') ?? '',
    alice.password,
    cookie,
    VERIFIER,
    Buffer.alloc(32, 1).toString('base64'),
  ]) {
    assert.equal(text.includes(secret), false);
  }
});
