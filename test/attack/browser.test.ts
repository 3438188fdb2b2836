/** Attacks through the user's browser: forged requests, fixed sessions, frames, and text that wants to be more than text. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask } from '../support/ask.js';
import { startTestBroker } from '../support/broker.js';
import { Browser, type Page } from '../support/browser.js';
import { startDocumentHost } from '../support/document-host.js';
import { parseForms, textOf } from '../support/html.js';
import { atCallback, atClient, CHALLENGE, type Fields, setStage } from '../support/stage.js';

/** What the consent page would post. */
function consentFields(page: Page): Record<'pending' | 'csrf' | 'decision', string> {
  const { fields } = parseForms(page.body)[0] ?? { fields: new Map<string, string>() };
  return {
    pending: fields.get('pending') ?? '',
    csrf: fields.get('csrf') ?? '',
    decision: 'continue',
  };
}

describe('CSRF', () => {
  test('a consent cannot be posted without the token of its form, in the browser that began it', async () => {
    await using it = await setStage();
    const consent = `${it.broker.url}/oauth/consent`;
    const browser = new Browser();
    const [page, other] = [
      await browser.open(it.authorizationUrl()),
      await browser.open(it.authorizationUrl()),
    ];
    const fields = consentFields(page);
    const attempts: [string, Browser, Fields][] = [
      ['no token', browser, { ...fields, csrf: '' }],
      ['a guess', browser, { ...fields, csrf: 'x'.repeat(43) }],
      ['the token of another tab', browser, { ...fields, csrf: consentFields(other).csrf }],
      ['no pending authorization', browser, { ...fields, pending: '' }],
      ['no cookie', new Browser(), fields],
    ];
    for (const [what, from, form] of attempts) {
      const answer = await from.post(consent, form);
      assert.equal(answer.status, 400, what);
      assert.equal(answer.location, undefined);
    }
    assert.equal((await browser.post(consent, fields)).status, 303);
  });

  test('a form that another site posts is refused even if it knows everything', async () => {
    await using it = await setStage();
    const browser = new Browser();
    const page = await browser.open(it.authorizationUrl());
    for (const site of ['cross-site', 'same-site']) {
      const answer = await browser.post(`${it.broker.url}/oauth/consent`, consentFields(page), {
        'Sec-Fetch-Site': site,
      });
      assert.equal(answer.status, 400, site);
    }
  });

  test('a consent is a POST: a link, an image or a prefetch decides nothing', async () => {
    await using it = await setStage();
    const browser = new Browser();
    const page = await browser.open(it.authorizationUrl());
    const query = new URLSearchParams(consentFields(page));
    assert.equal((await browser.get(`${it.broker.url}/oauth/consent?${query}`)).status, 404);
    assert.equal((await browser.post(`${it.broker.url}/oauth/consent?${query}`, {})).status, 400);
    assert.equal((await browser.post(`${it.broker.url}/oauth/authorize?${query}`, {})).status, 404);
  });

  test("a callback with the attacker's code does not finish the user's sign-in, nor the user's the attacker's (login CSRF)", async () => {
    await using it = await setStage();
    const [attacker, victim] = [new Browser(), new Browser()];
    const answer = async (browser: Browser, login: string) => {
      const page = await it.openGrantPage(browser, login);
      const { location } = await browser.submit(page, { button: 'true', ...atCallback });
      assert.ok(location);
      return location;
    };
    const theirs = await answer(attacker, 'bob');
    assert.equal((await victim.open(theirs)).status, 400, 'a browser without a sign-in');
    const own = await answer(victim, 'alice');
    assert.equal((await victim.open(theirs)).status, 400, 'a browser with another sign-in');
    const mixed = new URL(own);
    mixed.searchParams.set('state', theirs.searchParams.get('state') ?? '');
    assert.equal((await victim.open(mixed)).status, 400);
    const finished = await victim.open(own, atClient);
    assert.ok(finished.location?.searchParams.has('code'), 'none of it disturbed the user');
  });

  test('the state at Forgejo cannot be guessed from what a page shows, and is good once', async () => {
    await using it = await setStage();
    const browser = new Browser();
    const page = await it.openGrantPage(browser);
    const { location } = await browser.submit(page, { button: 'true', ...atCallback });
    assert.ok(location);
    const [id = ''] = (location.searchParams.get('state') ?? '').split('.');
    for (const state of ['', id, `${id}.`, `${id}.x`, '.', 'x.y']) {
      const guess = new URL(location);
      guess.searchParams.set('state', state);
      assert.equal((await browser.open(guess)).status, 400, state);
    }
    const together = await Promise.all([1, 2].map(() => browser.open(location, atClient)));
    assert.deepEqual(together.map(({ status }) => status).toSorted(), [303, 400]);
    assert.equal((await browser.open(location, atClient)).status, 400);
  });
});

describe('session fixation', () => {
  test("the attacker's sign-in page, or the name of it, is of no use in the user's browser", async () => {
    await using it = await setStage();
    const [attacker, victim] = [new Browser(), new Browser()];
    const fields = consentFields(await attacker.open(it.authorizationUrl()));
    await victim.open(it.authorizationUrl());
    assert.equal((await victim.post(`${it.broker.url}/oauth/consent`, fields)).status, 400);
  });

  test('a cookie too short to be ours is replaced, and under https no other host can set ours', async () => {
    await using it = await setStage();
    const planted = await ask(it.authorizationUrl(), 'GET', { Cookie: 'fjmcp_browser=planted' });
    assert.match(String(planted.headers['set-cookie']), /^fjmcp_browser=[\w-]{43};/);
    await using secure = await startSecureBroker();
    const { headers } = await secure.open(secure.authorizePath);
    assert.match(
      String(headers['set-cookie']),
      /^__Host-fjmcp_browser=[\w-]{43}; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
    );
  });
});

/** A broker whose public URL is https, asked as its proxy would. */
async function startSecureBroker() {
  const broker = await startTestBroker({ env: { BROKER_PUBLIC_URL: 'https://mcp.example.org' } });
  const open = (path: string, method = 'GET', body?: string) =>
    ask(broker.url + path, method, { Host: 'mcp.example.org' }, body);
  const registered = await open(
    '/oauth/register',
    'POST',
    JSON.stringify({ redirect_uris: ['https://client.example/cb'], token_endpoint_auth_method: 'none' }),
  );
  const { client_id } = JSON.parse(registered.body) as { client_id: string };
  const authorizePath = `/oauth/authorize?response_type=code&client_id=${client_id}&code_challenge=${CHALLENGE}&code_challenge_method=S256`;
  return { open, authorizePath, [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose]() };
}

describe('clickjacking and what else a browser can be told', () => {
  test('no page can be framed, run a script, load anything, or be re-based', async () => {
    await using it = await setStage();
    const evil = await it.register({ redirect_uris: ['https://evil.example/cb'] });
    const browser = new Browser();
    for (const url of [
      it.authorizationUrl(),
      it.authorizationUrl(evil, { response_type: 'token' }),
      it.authorizationUrl({ ...it.client, clientId: 'cl_unknown' }),
      `${it.broker.url}/oauth/callback?state=x&code=y`,
      `${it.broker.url}/`,
    ]) {
      const { headers, body } = await browser.open(url);
      const policy = headers.get('content-security-policy') ?? '';
      assert.match(policy, /default-src 'none'/, url);
      assert.match(policy, /frame-ancestors 'none'/);
      assert.match(policy, /base-uri 'none'/);
      assert.doesNotMatch(policy, /unsafe|\*|script-src/);
      assert.equal(headers.get('x-frame-options'), 'DENY');
      assert.equal(headers.get('x-content-type-options'), 'nosniff');
      assert.equal(headers.get('referrer-policy'), 'same-origin');
      assert.match(headers.get('cache-control') ?? '', /no-store/);
      assert.doesNotMatch(body, /<(script|img|iframe|link|object|embed|base)\b|\son\w+=/i);
    }
  });

  test('under https every answer says so for a year, and nothing of a sign-in is kept by caches', async () => {
    await using it = await startSecureBroker();
    for (const path of [
      '/',
      '/mcp',
      '/nowhere',
      it.authorizePath,
      '/.well-known/oauth-authorization-server',
    ]) {
      const { headers } = await it.open(path);
      assert.match(headers['strict-transport-security'] ?? '', /^max-age=31536000/, path);
    }
    for (const [path, method] of [
      [it.authorizePath, 'GET'],
      ['/oauth/callback', 'GET'],
      ['/oauth/consent', 'POST'],
      ['/oauth/token', 'POST'],
      ['/oauth/register', 'POST'],
      ['/oauth/revoke', 'POST'],
      ['/oauth/introspect', 'POST'],
      ['/mcp', 'POST'],
    ] as const) {
      assert.match((await it.open(path, method)).headers['cache-control'] ?? '', /no-store/, path);
    }
  });

  test('no page of a sign-in can be read by another origin', async () => {
    await using it = await setStage();
    for (const path of ['/oauth/authorize', '/oauth/consent', '/oauth/callback', '/authorize', '/']) {
      for (const method of ['GET', 'POST', 'OPTIONS']) {
        const { headers } = await ask(it.broker.url + path, method, {
          Origin: 'https://evil.example',
          'Access-Control-Request-Method': 'POST',
        });
        assert.equal(headers['access-control-allow-origin'], undefined, `${method} ${path}`);
      }
    }
  });
});

describe('text that a client chose', () => {
  const SCRIPTS = [
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    '</title><script>alert(1)</script>',
    '</style><script>alert(1)</script>',
    '&lt;script&gt;',
    '{{7*7}}<%= 7*7 %>',
  ];
  test('stays text on every page that shows it', async () => {
    await using it = await setStage();
    for (const text of SCRIPTS) {
      const client = await it.register({
        client_name: text,
        client_uri: text,
        redirect_uris: ["https://client.example/cb?x='onmouseover='alert(1)"],
      });
      for (const more of [{}, { response_type: text }, { resource: text }, { scope: text, state: text }]) {
        const { body } = await new Browser().open(it.authorizationUrl(client, more));
        assert.doesNotMatch(body, /<(script|img|svg)|<[^>]*\son\w+=|'onmouseover='/i, text);
      }
      const asId = { clientId: text, redirectUri: text };
      assert.ok(!(await new Browser().open(it.authorizationUrl(asId))).body.includes(text));
    }
  });

  const NAMES: readonly (readonly [name: string, shown: string])[] = [
    ['\u202eedualC', 'edualC'],
    ['Claude\u2066 by\u2069 Anthropic', 'Claude by Anthropic'],
    ['Cla\u200bu\u00adde\ufeff', 'Claude'],
    ['Claude\r\n\r\nThe operator of this broker set this application up.', 'Claude The operator'],
    ['C\u0300\u0301\u0302\u0303\u0304\u0305laude', 'laude'],
    ['\u3164\u115f\u2800\u200b', 'an application without a name'],
    ['\u0007', 'an application without a name'],
  ];
  for (const [name, shown] of NAMES) {
    test(`shows without what is invisible, turns or piles up: ${JSON.stringify(name).slice(0, 50)}`, async () => {
      await using it = await setStage();
      const client = await it.register({ client_name: name });
      const { body } = await new Browser().open(it.authorizationUrl(client));
      assert.ok(textOf(body).includes(shown), textOf(body).slice(0, 200));
      assert.doesNotMatch(body, /[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]|\p{M}{4}/u);
      assert.match(body, /registered itself/);
    });
  }

  test('is cut where it is long, and never fetched where it is an address (SSRF through client_uri and logo_uri)', async () => {
    await using host = await startDocumentHost();
    await using it = await setStage({ network: host.network });
    const client = await it.register({
      client_name: 'x'.repeat(200),
      client_uri: `${host.url}/page`,
      logo_uri: `${host.url}/logo`,
      policy_uri: `${host.url}/policy`,
      tos_uri: `${host.url}/tos`,
      jwks_uri: `${host.url}/keys`,
      sector_identifier_uri: `${host.url}/sector`,
    });
    const { body } = await new Browser().open(it.authorizationUrl(client));
    assert.ok(!body.includes('x'.repeat(101)));
    assert.doesNotMatch(body, /<a |src=/);
    assert.deepEqual(host.requests, []);
  });
});
