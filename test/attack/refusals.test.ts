/** What is refused at the pages of a sign-in is an event that its user can quote, and no way to fill the audit trail. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { openSqliteAdmin } from '../../src/store/sqlite-admin.js';
import { Browser, type Page } from '../support/browser.js';
import { startStage } from '../support/connection.js';
import { parseForms } from '../support/html.js';
import { atCallback, atClient, type Stage, setStage } from '../support/stage.js';
import { toCallback } from '../support/tools.js';

const refusals = ({ broker }: Stage) =>
  broker.log
    .filter(({ event }) => event.endsWith('.refused'))
    .map(({ event, fields }) => ({ event, ...fields }));

/** The reason of the one event that the page quotes. */
function reasonOn(it: Stage, page: Page): unknown {
  const [id = 'none'] = page.body.match(/\bau_[\w-]{22}/) ?? [];
  const [quoted] = refusals(it).filter(({ audit }: Record<string, unknown>) => audit === id);
  assert.ok(quoted, `nothing to quote on ${page.url} (${page.status})`);
  return (quoted as Record<string, unknown>).reason;
}

async function atConsent(it: Stage, browser: Browser) {
  const page = await browser.open(it.authorizationUrl());
  const fields = Object.fromEntries(parseForms(page.body)[0]?.fields ?? []);
  return { ...fields, decision: 'continue' } as { pending: string; csrf: string; decision: string };
}

async function atForgejosAnswer(it: Stage, browser: Browser, login = 'alice'): Promise<URL> {
  const page = await it.openGrantPage(browser, login);
  const { location } = await browser.submit(page, { button: 'true', ...atCallback });
  return location ?? assert.fail();
}

type Attack = (it: Stage, browser: Browser) => Promise<Page>;
const consent = (it: Stage) => `${it.broker.url}/oauth/consent`;

const ATTACKS: readonly (readonly [what: string, reason: string, attack: Attack])[] = [
  [
    'an authorization request with a doubled parameter',
    'parameter_repeated',
    (it, browser) => browser.open(`${it.authorizationUrl()}&state=again`),
  ],
  [
    'an unknown client',
    'client_unknown',
    (it, browser) => browser.open(it.authorizationUrl({ ...it.client, clientId: 'cl_unknown' })),
  ],
  [
    'a redirect URI that was never registered',
    'redirect_uri_unregistered',
    (it, browser) =>
      browser.open(it.authorizationUrl({ ...it.client, redirectUri: 'https://evil.example/' })),
  ],
  [
    "a request without a challenge by a stranger's client",
    'invalid_request',
    async (it, browser) => {
      const stranger = await it.register({ redirect_uris: ['https://stranger.example/cb'] });
      return browser.open(it.authorizationUrl(stranger, { code_challenge: '' }));
    },
  ],
  [
    'a consent with a wrong token',
    'csrf_differs',
    async (it, browser) => browser.post(consent(it), { ...(await atConsent(it, browser)), csrf: 'guess' }),
  ],
  [
    'a consent from another browser',
    'browser_differs',
    async (it, browser) => new Browser().post(consent(it), await atConsent(it, browser)),
  ],
  [
    'a consent that another site posts',
    'form_foreign',
    async (it, browser) =>
      browser.post(consent(it), await atConsent(it, browser), { 'Sec-Fetch-Site': 'cross-site' }),
  ],
  [
    'a consent that is too large',
    'form_too_large',
    async (it, browser) => browser.post(consent(it), { x: 'x'.repeat(20_000) }),
  ],
  [
    'a consent to nothing',
    'expired',
    (it, browser) => browser.post(consent(it), { pending: 'pa_x', csrf: 'x', decision: 'continue' }),
  ],
  [
    'a callback with a doubled parameter',
    'callback_malformed',
    async (it, browser) => browser.get(`${await atForgejosAnswer(it, browser)}&code=other`),
  ],
  [
    'a callback with a state that nobody made',
    'expired',
    (it, browser) => browser.get(`${it.broker.url}/oauth/callback?state=x.y&code=z`),
  ],
  [
    'a callback with a state of which only the beginning is right',
    'state_differs',
    async (it, browser) => {
      const url = await atForgejosAnswer(it, browser);
      url.searchParams.set('state', `${url.searchParams.get('state')?.split('.')[0]}.guess`);
      return browser.get(url);
    },
  ],
  [
    'a callback in a browser without the cookie',
    'browser_differs',
    async (it, browser) => new Browser().get(await atForgejosAnswer(it, browser)),
  ],
  [
    "a callback in another user's browser",
    'browser_differs',
    async (it, browser) => {
      const victim = new Browser();
      await atForgejosAnswer(it, victim, 'bob');
      return victim.get(await atForgejosAnswer(it, browser));
    },
  ],
];

describe('an event that the page quotes is made of', () => {
  for (const [what, reason, attack] of ATTACKS) {
    test(what, async () => {
      await using it = await setStage();
      const page = await attack(it, new Browser());
      assert.ok(page.status >= 400 && page.status < 500, String(page.status));
      assert.equal(reasonOn(it, page), reason);
      assert.equal(refusals(it).length, 1);
    });
  }
});

test('a consent with a doubled parameter is refused as malformed', async () => {
  await using it = await setStage();
  const response = await fetch(consent(it), { method: 'POST', body: new URLSearchParams('csrf=a&csrf=b') });
  assert.equal(response.status, 400);
  assert.match(await response.text(), /\bau_/);
  assert.deepEqual(
    refusals(it).map((refusal: Record<string, unknown>) => refusal.reason),
    ['form_malformed'],
  );
});

test('a second click is no refusal: what was asked for has been done', async () => {
  await using it = await setStage();
  const browser = new Browser();
  const fields = await atConsent(it, browser);
  await browser.post(consent(it), { ...fields, decision: 'cancel' });
  const before = refusals(it).length;
  assert.match((await browser.post(consent(it), fields)).body, /answered this already/);
  assert.equal(refusals(it).length, before);
});

test('a flood of bad pages, and of clients made up for them, writes few rows', async () => {
  await using stage = await startStage();
  const { url } = stage.broker;
  for (let index = 0; index < 30; index += 1) {
    await fetch(`${url}/oauth/callback?state=pa_${index}.x&code=y`);
    await fetch(`${url}/oauth/authorize?client_id=cl_${index}&x=1&x=2`);
    await fetch(`${url}/oauth/authorize?client_id=cl_${index}`);
    await fetch(`${url}/oauth/consent`, { method: 'POST', body: `pending=pa_${index}` });
  }
  using admin = openSqliteAdmin(stage.database);
  const rows = await admin.listAudit({ limit: 100 });
  assert.deepEqual(rows.map(({ kind, reason }) => `${kind} ${reason}`).toSorted(), [
    'authorization.refused client_unknown',
    'authorization.refused parameter_repeated',
    'sign_in.refused expired',
  ]);
});

describe('the event of an account that may not be used here', () => {
  test('names it, at Forgejo and as it is known here, under the id that the client is told', async () => {
    await using stage = await startStage({ forgejo: { version: '16.0.0+gitea-1.22.0' } });
    const browser = new Browser();
    const callback = await toCallback(stage, await stage.connect('bob', browser), browser);
    stage.broker.forgejo.control.bar('bob');
    const { location } = await browser.get(callback);
    const told = location?.searchParams.get('error_description') ?? '';
    assert.match(told, /^This Forgejo account may not be used here\. \(au_[\w-]{22}\)$/);
    using admin = openSqliteAdmin(stage.database);
    const [refused] = await admin.listAudit({ kind: 'sign_in.refused', limit: 9 });
    assert.ok(refused !== undefined && told.includes(refused.id));
    assert.match(refused?.reason ?? '', /^barred: Forgejo user \d+ \(bob\)$/);
    assert.equal(refused?.login, 'bob');
  });

  test('names who is not on the list of the operator, and was never here', async () => {
    await using stage = await startStage({ env: { BROKER_ALLOWED_USERS: 'alice' } });
    await assert.rejects(stage.connect('bob'), /may not be used here/);
    using admin = openSqliteAdmin(stage.database);
    const [refused] = await admin.listAudit({ kind: 'sign_in.refused', limit: 9 });
    assert.match(refused?.reason ?? '', /^not_allowed: Forgejo user \d+ \(bob\)$/);
    assert.equal(refused?.user ?? undefined, undefined);
  });
});

test('no refusal that is redirected to a client names an account', async () => {
  await using it = await setStage({ env: { BROKER_ALLOWED_USERS: 'alice' } });
  const browser = new Browser();
  const page = await it.openGrantPage(browser, 'bob');
  const { location } = await browser.submit(page, { button: 'true', ...atClient });
  assert.doesNotMatch(location?.searchParams.get('error_description') ?? 'bob', /bob|Forgejo user/);
});
