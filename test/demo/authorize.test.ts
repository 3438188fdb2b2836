/** The authorize and grant endpoints: which check comes first, what reaches the client, and what a consent is remembered for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser, loginFields } from '../support/browser.js';
import { challenge, formOf, locationOf, redirectUri, startWire, type Wire } from './wire.js';

async function redirectOf(wire: Wire, browser: Browser, changed: Readonly<Record<string, string>>) {
  const page = await browser.get(wire.authorizeUrl(changed));
  assert.equal(page.status, 303);
  return locationOf(page).href;
}

async function consent(browser: Browser, wire: Wire, changed: Readonly<Record<string, string>> = {}) {
  const { action, fields } = formOf(await browser.get(wire.authorizeUrl(changed)));
  return await browser.post(action, { ...fields, granted: 'true' });
}

test('an unknown client or redirect URI is a 400 page, and the client hears nothing', async () => {
  await using wire = await startWire();
  const browser = await wire.signedIn();
  const wrong = { redirect_uri: 'https://evil.test/', response_type: 'token' };
  for (const [changed, message] of [
    [{ ...wrong, client_id: 'nobody' }, /Client ID not registered/],
    [{ ...wrong, client_id: '' }, /Client ID not registered/],
    [wrong, /Unregistered Redirect URI/],
    [{ ...wrong, redirect_uri: '' }, /Unregistered Redirect URI/],
  ] as const) {
    const response = await browser.get(wire.authorizeUrl(changed));
    assert.equal(response.status, 400);
    assert.equal(response.headers.get('location'), null);
    assert.match(response.body, message);
  }
});

test('login comes before every check of the request', async () => {
  await using wire = await startWire();
  const browser = new Browser();
  const response = await browser.get(wire.authorizeUrl({ client_id: 'nobody' }));
  assert.equal(response.status, 303);
  assert.equal(response.headers.get('location'), '/user/login');
  assert.ok(
    decodeURIComponent(browser.cookies.get(wire.forgejo.url, 'redirect_to') ?? '').startsWith(
      '/login/oauth/authorize?',
    ),
  );
});

test('the response type is checked before PKCE, and errors carry the state even when it is empty', async () => {
  await using wire = await startWire();
  const browser = await wire.signedIn();
  const unsupported =
    'error=unsupported_response_type&error_description=Only+code+response+type+is+supported.&state=';
  assert.equal(
    await redirectOf(wire, browser, { response_type: 'token', code_challenge_method: 'S512' }),
    `${redirectUri}?${unsupported}st`,
  );
  assert.equal(
    await redirectOf(wire, browser, { response_type: '', state: '' }),
    `${redirectUri}?${unsupported}`,
  );
  assert.equal(
    await redirectOf(wire, browser, { code_challenge_method: 's256' }),
    `${redirectUri}?error=invalid_request&error_description=unsupported+code+challenge+method&state=st`,
  );
});

test('a public client must use PKCE and is asked for consent every time', async () => {
  await using wire = await startWire({}, { confidential: false });
  const browser = await wire.signedIn();
  assert.match(
    await redirectOf(wire, browser, { code_challenge: '', code_challenge_method: '' }),
    /error=invalid_request&error_description=PKCE\+is\+required\+for\+public\+clients/,
  );
  await consent(browser, wire);
  assert.equal((await browser.get(wire.authorizeUrl())).status, 200);
  const conflict = locationOf(await consent(browser, wire, { scope: 'read:user read:issue' }));
  assert.equal(conflict.searchParams.get('error'), 'server_error');
  assert.equal(conflict.searchParams.get('error_description'), 'a grant exists with different scope');
});

test('a confidential client is consented to once, silently afterwards, and keeps its first scope', async () => {
  await using wire = await startWire();
  const browser = await wire.signedIn();
  await consent(browser, wire);
  const again = await redirectOf(wire, browser, { scope: 'write:user', state: '' });
  assert.match(again, /^https:\/\/broker\.test\/oauth\/callback\?code=gta_[a-z2-7]{52}$/);
  const code = new URL(again).searchParams.get('code') ?? '';
  const { access_token } = JSON.parse((await wire.redeem(code)).text);
  assert.equal(JSON.parse((await wire.introspect(access_token)).text).scope, 'read:user');
});

test('the redirect URI keeps its own query, and the keys come out in order', async () => {
  const registered = `${redirectUri}?tenant=1&a=2`;
  await using wire = await startWire({}, { redirectUris: [registered] });
  const browser = await wire.signedIn();
  const { href } = locationOf(await consent(browser, wire, { redirect_uri: registered }));
  assert.match(href, /callback\?a=2&code=gta_\w+&state=st&tenant=1$/);
});

test('redirect URIs match without regard to case and one final slash, loopback ports for public clients only', async () => {
  const redirectUris = ['http://127.0.0.1/Done', 'http://::1/done', 'http://localhost/done'];
  const accepts = async (wire: Wire, uri: string) => {
    const response = await (await wire.signedIn()).get(wire.authorizeUrl({ redirect_uri: uri }));
    return response.status !== 400;
  };
  await using confidential = await startWire({}, { redirectUris });
  await using open = await startWire({}, { redirectUris, confidential: false });
  for (const wire of [confidential, open]) {
    assert.ok(await accepts(wire, 'http://127.0.0.1/done/'));
    assert.ok(!(await accepts(wire, 'http://127.0.0.1/done//')));
    assert.ok(!(await accepts(wire, 'http://localhost:8000/done')));
    assert.ok(!(await accepts(wire, 'https://127.0.0.1:8000/done')));
    assert.ok(!(await accepts(wire, 'http://127.0.0.2:8000/done')));
  }
  assert.ok(!(await accepts(confidential, 'http://127.0.0.1:8000/done')));
  assert.ok(await accepts(open, 'http://127.0.0.1:8000/done'));
  assert.ok(await accepts(open, 'http://[::1]:8000/done'));
});

test('the consent form is bound to the session: only the tab opened last works', async () => {
  await using wire = await startWire();
  const browser = await wire.signedIn();
  const older = formOf(await browser.get(wire.authorizeUrl({ state: 'older' })));
  const newer = formOf(await browser.get(wire.authorizeUrl({ state: 'newer' })));
  const refused = await browser.post(older.action, { ...older.fields, granted: 'true' });
  assert.deepEqual([refused.status, refused.body], [400, 'Bad Request\n']);
  const accepted = await browser.post(newer.action, { ...newer.fields, granted: 'true' });
  assert.equal(locationOf(accepted).searchParams.get('state'), 'newer');
});

test('what is not granted is denied', async () => {
  await using wire = await startWire();
  const browser = await wire.signedIn();
  const { action, fields } = formOf(await browser.get(wire.authorizeUrl()));
  for (const answer of [{ granted: 'false' }, {}]) {
    const denied = await browser.post(action, { ...fields, ...answer });
    assert.equal(
      locationOf(denied).href,
      `${redirectUri}?error=access_denied&error_description=the+request+is+denied&state=st`,
    );
  }
});

test('the scope of a grant is what the form says, whatever was asked', async () => {
  await using wire = await startWire();
  const browser = await wire.signedIn();
  const { action, fields } = formOf(await browser.get(wire.authorizeUrl({ scope: 'write:user' })));
  const edited = await browser.post(action, { ...fields, scope: 'read:issue', granted: 'true' });
  const code = locationOf(edited).searchParams.get('code') ?? '';
  const { access_token } = JSON.parse((await wire.redeem(code)).text);
  assert.equal(JSON.parse((await wire.introspect(access_token)).text).scope, 'read:issue');
});

test('a challenge outlives its authorization in the browser session', async () => {
  await using wire = await startWire();
  const browser = await wire.signedIn();
  await browser.get(wire.authorizeUrl());
  const later = await consent(browser, wire, { code_challenge: '', code_challenge_method: '' });
  const code = locationOf(later).searchParams.get('code') ?? '';
  const refused = await wire.redeem(code, { code_verifier: '' });
  assert.match(refused.text, /failed PKCE code challenge/);
  assert.equal((await wire.redeem(code)).status, 200);
});

test('a barred user sees a 200 page, and one who must change the password is sent to do so', async () => {
  await using wire = await startWire();
  const browser = await wire.signedIn();
  const { action, fields } = formOf(await browser.get(wire.authorizeUrl()));
  for (const status of ['prohibited', 'unactivated'] as const) {
    wire.forgejo.control.bar('alice', status);
    for (const response of [
      await browser.get(wire.authorizeUrl({ client_id: 'nobody' })),
      await browser.post(action, { ...fields, granted: 'true' }),
    ]) {
      assert.deepEqual([response.status, response.headers.get('location')], [200, null]);
    }
  }
  wire.forgejo.control.bar('alice', 'must-change-password');
  const sent = await browser.get(wire.authorizeUrl());
  assert.equal(sent.headers.get('location'), '/user/settings/change_password');
});

test('11 guards the consent form with a hidden field, its session cookie is i_like_gitea', async () => {
  await using wire = await startWire({ variant: '11' });
  const browser = await wire.signedIn();
  assert.ok(browser.cookies.get(wire.forgejo.url, 'i_like_gitea'));
  const { action, fields } = formOf(await browser.get(wire.authorizeUrl()));
  const forged = await browser.post(action, { ...fields, _csrf: 'x', granted: 'true' });
  assert.deepEqual([forged.status, forged.body], [400, 'Invalid CSRF token.\n']);
  const { _csrf = '', ...rest } = fields;
  const accepted = await browser.post(action, { ...rest, granted: 'true' }, { 'x-csrf-token': _csrf });
  assert.equal(accepted.status, 303);
});

for (const variant of ['15', '16'] as const) {
  test(`${variant} guards the consent form by where it was sent from, its session cookie is session`, async () => {
    await using wire = await startWire({ variant });
    const browser = await wire.signedIn();
    assert.ok(browser.cookies.get(wire.forgejo.url, 'session'));
    const { action, fields } = formOf(await browser.get(wire.authorizeUrl()));
    assert.equal(fields._csrf, undefined);
    const send = (headers: Readonly<Record<string, string>>) =>
      browser.post(action, { ...fields, granted: 'true' }, headers);
    const byHeader = await send({ 'sec-fetch-site': 'same-site' });
    assert.equal(byHeader.status, 403);
    assert.match(byHeader.body, /^cross-origin request detected from Sec-Fetch-Site header/);
    const byOrigin = await send({ origin: 'https://evil.test' });
    assert.equal(byOrigin.status, 403);
    assert.match(byOrigin.body, /Origin does not match Host/);
    const foreignButMarked = { origin: 'https://evil.test', 'sec-fetch-site': 'same-origin' };
    assert.equal((await send({ origin: wire.forgejo.url })).status, 303);
    assert.equal((await send(foreignButMarked)).status, 303);
  });
}

test('the login page refuses a wrong password and takes the user back to where they were going', async () => {
  await using wire = await startWire();
  const browser = new Browser();
  const alice = loginFields(wire.user('alice'));
  const loginUrl = locationOf(await browser.get(wire.authorizeUrl()));
  const wrong = await browser.post(loginUrl, { ...alice, password: 'wrong' });
  assert.equal(wrong.status, 200);
  assert.match(wrong.body, /Username or password is incorrect/);
  const right = await browser.post(loginUrl, alice);
  assert.equal(locationOf(right).href, wire.authorizeUrl().href);
  assert.equal(browser.cookies.get(wire.forgejo.url, 'redirect_to'), undefined);
  assert.match(right.headers.getSetCookie()[0] ?? '', /^session=\w+; Path=\/; HttpOnly; SameSite=Lax$/);
  assert.equal((await browser.post(`${wire.forgejo.url}/user/logout`, {})).status, 303);
  assert.equal((await browser.get(wire.authorizeUrl())).headers.get('location'), '/user/login');
});

test('below a sub-path every link, redirect and cookie carries it, and outside of it nothing is found', async () => {
  await using wire = await startWire({ subPath: '/git' });
  const browser = new Browser();
  const toLogin = await browser.get(wire.authorizeUrl());
  assert.equal(toLogin.headers.get('location'), '/git/user/login');
  assert.ok(toLogin.headers.getSetCookie().every((cookie) => cookie.includes('Path=/git;')));
  const back = await browser.post(locationOf(toLogin), loginFields(wire.user('alice')));
  assert.ok(back.headers.get('location')?.startsWith('/git/login/oauth/authorize?'));
  const { action } = formOf(await browser.get(locationOf(back)));
  assert.equal(action, `${wire.forgejo.url}/login/oauth/grant`);
  const discovery = JSON.parse((await wire.web('/.well-known/openid-configuration')).text);
  assert.equal(discovery.issuer, wire.forgejo.url);
  assert.equal(discovery.token_endpoint, `${wire.forgejo.url}/login/oauth/access_token`);
  assert.match((await wire.api('/user')).text, /\/git\/api\/swagger/);
  const { origin } = new URL(wire.forgejo.url);
  for (const path of ['/api/v1/version', '/gitx/api/v1/version', '/']) {
    assert.equal((await fetch(origin + path)).status, 404);
  }
});

test('doubled and trailing slashes in a path are collapsed', async () => {
  await using wire = await startWire();
  assert.equal((await wire.web('//api//v1/version/')).status, 200);
});

test('an htmx request is redirected by a header', async () => {
  await using wire = await startWire();
  const browser = await wire.signedIn();
  const response = await browser.get(wire.authorizeUrl({ response_type: '' }), { 'hx-request': 'true' });
  assert.equal(response.status, 204);
  assert.match(response.headers.get('hx-redirect') ?? '', /error=unsupported_response_type/);
});

test('the challenge of a silent authorization is bound without a page', async () => {
  await using wire = await startWire();
  const browser = await wire.signedIn();
  await consent(browser, wire);
  const silently = await redirectOf(wire, browser, {
    code_challenge: challenge,
    code_challenge_method: '',
  });
  const refused = await wire.redeem(new URL(silently).searchParams.get('code') ?? '');
  assert.match(refused.text, /failed PKCE code challenge/, 'a challenge without a method can never be met');
});
