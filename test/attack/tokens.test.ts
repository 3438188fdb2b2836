/** Attacks on codes and tokens: replay, theft, the wrong place, the wrong hands, and what a request can smuggle. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, test } from 'node:test';
import { MINUTE, SECOND } from '../../src/base/clock.js';
import { ask } from '../support/ask.js';
import { Browser } from '../support/browser.js';
import { atClient, CHALLENGE, setStage, VERIFIER } from '../support/stage.js';

describe('a code', () => {
  test('redeemed twice ends everything it gave, and is told to the operator', async () => {
    await using it = await setStage();
    const code = await it.code();
    const { body } = await it.redeem(code);
    const { body: next } = await it.refresh(body.refresh_token);
    assert.equal((await it.redeem(code)).body.error, 'invalid_grant');
    for (const token of [body.access_token, next.access_token]) assert.equal(await it.statusWith(token), 401);
    assert.equal((await it.refresh(next.refresh_token)).body.error, 'invalid_grant');
    assert.ok(it.broker.log.some(({ event }) => event === 'code.replayed'));
  });

  test('of one sign-in ends nothing of another when it is replayed', async () => {
    await using it = await setStage();
    const other = (await it.redeem(await it.code())).body;
    const code = await it.code();
    await it.redeem(code);
    await it.redeem(code);
    assert.notEqual(await it.statusWith(other.access_token), 401);
  });

  test('cannot be destroyed by whoever saw it in a log or a Referer and lacks the verifier', async () => {
    await using it = await setStage();
    const code = await it.code();
    const { body } = await it.redeem(code);
    await it.redeem(code, { code_verifier: 'x'.repeat(43) });
    assert.notEqual(await it.statusWith(body.access_token), 401);
  });

  test('is no refresh token and no access token; none of the three is another', async () => {
    await using it = await setStage();
    const code = await it.code();
    assert.equal(await it.statusWith(code), 401);
    assert.equal((await it.refresh(code)).body.error, 'invalid_grant');
    const { access_token, refresh_token } = (await it.redeem(code)).body;
    assert.equal(await it.statusWith(refresh_token), 401);
    assert.equal((await it.refresh(access_token)).body.error, 'invalid_grant');
    assert.equal((await it.redeem(String(refresh_token))).body.error, 'invalid_grant');
  });
});

describe('a stolen refresh token', () => {
  test("is no good to another client, whatever it says of itself, and the theft does not disturb the owner's", async () => {
    await using it = await setStage();
    const { refresh_token } = (await it.redeem(await it.code())).body;
    const thief = await it.register({ token_endpoint_auth_method: 'client_secret_post' });
    const asThief = { client_id: thief.clientId, client_secret: thief.secret ?? '' };
    assert.equal((await it.refresh(refresh_token, asThief)).body.error, 'invalid_grant');
    assert.equal((await it.refresh(refresh_token, { client_id: '' })).status, 400);
    assert.equal((await it.refresh(refresh_token)).status, 200);
  });

  test('shown after its successor was used and the grace is over ends the family, for thief and owner, and is told', async () => {
    let time = Date.now();
    await using it = await setStage({ now: () => time });
    const stolen = (await it.redeem(await it.code())).body.refresh_token;
    const second = (await it.refresh(stolen)).body;
    const third = (await it.refresh(second.refresh_token)).body;
    time += 10 * MINUTE;
    assert.equal((await it.refresh(stolen)).body.error, 'invalid_grant');
    assert.equal((await it.refresh(third.refresh_token)).body.error, 'invalid_grant');
    assert.equal(await it.statusWith(third.access_token), 401);
    assert.ok(it.broker.log.some(({ event }) => event === 'refresh.reused'));
  });

  for (const ending of ['is shown once more', 'is given back by the owner']) {
    test(`used by a thief too while it is forgiven goes unnoticed, until a token ${ending}: that ends both`, async () => {
      let time = Date.now();
      await using it = await setStage({ now: () => time });
      const reused = () => it.broker.log.some(({ event }) => event === 'refresh.reused');
      const stolen = (await it.redeem(await it.code())).body.refresh_token;
      let owner = (await it.refresh(stolen)).body;
      // Not only within the grace, but at any time before the owner has used the successor.
      time += 30 * MINUTE;
      let thief = (await it.refresh(stolen)).body;
      for (let hour = 0; hour < 3; hour += 1) {
        time += 60 * MINUTE;
        owner = (await it.refresh(owner.refresh_token)).body;
        thief = (await it.refresh(thief.refresh_token)).body;
      }
      for (const { access_token } of [owner, thief]) assert.notEqual(await it.statusWith(access_token), 401);
      assert.equal(reused(), false);
      const again = ending === 'is shown once more';
      if (again) await it.refresh(stolen);
      else
        await it.post('/oauth/revoke', { token: String(owner.refresh_token), client_id: it.client.clientId });
      assert.equal(reused(), again);
      for (const { access_token, refresh_token } of [owner, thief]) {
        assert.equal(await it.statusWith(access_token), 401);
        assert.equal((await it.refresh(refresh_token)).body.error, 'invalid_grant');
      }
    });
  }

  test('used by the thief first is noticed when the owner comes after the grace and after the thief came back', async () => {
    let time = Date.now();
    await using it = await setStage({ now: () => time });
    const stolen = (await it.redeem(await it.code())).body.refresh_token;
    const thief = (await it.refresh(stolen)).body;
    const next = (await it.refresh(thief.refresh_token)).body;
    time += 3 * MINUTE;
    assert.equal((await it.refresh(stolen)).body.error, 'invalid_grant');
    assert.equal(await it.statusWith(next.access_token), 401);
    assert.ok(it.broker.log.some(({ event }) => event === 'refresh.reused'));
  });

  test('shown within the grace costs the owner nothing', async () => {
    let time = Date.now();
    await using it = await setStage({ now: () => time });
    const first = (await it.redeem(await it.code())).body.refresh_token;
    const second = (await it.refresh(first)).body;
    await it.refresh(second.refresh_token);
    time += 119 * SECOND;
    assert.equal((await it.refresh(first)).status, 200);
    assert.notEqual(await it.statusWith(second.access_token), 401);
  });
});

describe('a token is taken from the Authorization header alone', () => {
  test('not from the query, the body or a cookie (RFC 6750 §2, RFC 9700 §4.3.2)', async () => {
    await using it = await setStage();
    const { access_token: token } = (await it.redeem(await it.code())).body;
    const form = 'application/x-www-form-urlencoded';
    for (const [query, headers, body] of [
      [`?access_token=${token}`, {}, undefined],
      ['', { 'Content-Type': form }, `access_token=${token}`],
      ['', { Cookie: `access_token=${token}; Authorization=Bearer ${token}` }, undefined],
      ['', { 'X-Authorization': `Bearer ${token}`, 'Proxy-Authorization': `Bearer ${token}` }, undefined],
    ] as const) {
      assert.equal((await ask(it.broker.mcpUrl + query, 'POST', headers, body)).status, 401);
    }
  });

  test('and one header names one token: two headers, a list or a second word are refused', async () => {
    await using it = await setStage();
    const { access_token: token } = (await it.redeem(await it.code())).body;
    for (const authorization of [
      [`Bearer ${token}`, 'Bearer other'],
      ['Bearer other', `Bearer ${token}`],
      `Bearer ${token}, Bearer other`,
      `Basic x, Bearer ${token}`,
      `Bearer ${token} x`,
      `Bearer Bearer ${token}`,
      `DPoP ${token}`,
      `${token}`,
    ]) {
      const { status } = await ask(it.broker.mcpUrl, 'HEAD', { Authorization: authorization });
      assert.equal(status, 401, String(authorization));
    }
    assert.notEqual(await it.statusWith(token), 401);
  });

  test('a code or a secret in the query of the token endpoint is not looked at', async () => {
    await using it = await setStage();
    const code = await it.code();
    const form = {
      grant_type: 'authorization_code',
      code,
      client_id: it.client.clientId,
      code_verifier: VERIFIER,
    };
    const query = new URLSearchParams(form);
    assert.equal((await it.post(`/oauth/token?${query}`, {})).status, 400);
    const { headers, status } = await ask(`${it.broker.url}/oauth/token?${query}`);
    assert.equal(status, 404, 'GET');
    assert.match(headers['content-type'] ?? '', /json/);
    assert.equal((await it.post('/oauth/token', form)).status, 200);
  });
});

test('a token of one resource is refused at another, and cannot be widened by a refresh (audience)', async () => {
  await using it = await setStage();
  const url = it.authorizationUrl(it.client, { resource: `${it.broker.url}/mcp/forgejo` });
  const code = (await it.signIn(url)).searchParams.get('code') ?? '';
  assert.equal((await it.redeem(code, { resource: it.broker.mcpUrl })).body.error, 'invalid_target');
  const { access_token, refresh_token } = (await it.redeem(code)).body;
  assert.equal(await it.statusWith(access_token), 401);
  for (const resource of [it.broker.mcpUrl, 'https://evil.example/mcp']) {
    assert.equal((await it.refresh(refresh_token, { resource })).body.error, 'invalid_target');
  }
  const { body } = await it.refresh(refresh_token, {
    scope: 'mcp admin everything',
    resource: it.broker.url,
  });
  assert.equal(body.scope, 'mcp');
  assert.equal(await it.statusWith(body.access_token), 401);
});

describe('client authentication', () => {
  test('of a client with a secret cannot be left out, halved, doubled, or made unreadable', async () => {
    await using it = await setStage();
    const { clientId, secret = '' } = await it.register({
      token_endpoint_auth_method: 'client_secret_basic',
    });
    const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
    const good = { Authorization: basic(`${clientId}:${secret}`) };
    const form = { grant_type: 'refresh_token', refresh_token: 'x' };
    const attempts: [string, Record<string, string>, Record<string, string>][] = [
      ['none', { client_id: clientId }, {}],
      ['an empty secret', { client_id: clientId, client_secret: '' }, {}],
      ['a wrong secret', {}, { Authorization: basic(`${clientId}:wrong`) }],
      ['another name', { client_id: it.client.clientId }, good],
      ['two ways', { client_secret: secret }, good],
      ['a secret and an assertion', { client_assertion: 'a.b.c' }, good],
      ['an unreadable header', { client_id: clientId }, { Authorization: 'Basic !' }],
    ];
    for (const [what, more, headers] of attempts) {
      const { body } = await it.post('/oauth/token', { ...form, ...more }, headers);
      assert.match(String(body.error), /invalid_(client|request)/, what);
    }
    // Authenticated, it is told that its token is none.
    assert.equal((await it.post('/oauth/token', form, good)).body.error, 'invalid_grant');
  });

  test('tried by an unreadable Basic, or two, does not pass for that of a public client', async () => {
    await using it = await setStage();
    const body = `grant_type=refresh_token&refresh_token=x&client_id=${it.client.clientId}`;
    for (const authorization of ['Basic', 'Basic !', ['Basic eDp5', 'Basic eDp6'], 'Basic eDp5, Bearer x']) {
      const { status, headers } = await ask(
        `${it.broker.url}/oauth/token`,
        'POST',
        { Authorization: authorization, 'Content-Type': 'application/x-www-form-urlencoded' },
        body,
      );
      assert.equal(status, 401, String(authorization));
      assert.match(headers['www-authenticate'] ?? '', /^Basic /);
    }
  });
});

describe('a repeated parameter is refused at every endpoint (RFC 6749 §3.1, §3.2)', () => {
  for (const path of ['/oauth/token', '/oauth/revoke', '/oauth/introspect']) {
    test(path, async () => {
      await using it = await setStage();
      const form = {
        grant_type: 'refresh_token',
        refresh_token: 'x',
        token: 'x',
        client_id: it.client.clientId,
      };
      for (const name of Object.keys(form)) {
        const { status, body } = await it.post(path, [...Object.entries(form), [name, 'other']]);
        assert.equal(status, 400, name);
        assert.equal(body.error, 'invalid_request');
      }
    });
  }

  test('/oauth/authorize, /oauth/consent, /oauth/callback: with a page and no redirect', async () => {
    await using it = await setStage();
    const names = ['client_id', 'redirect_uri', 'state', 'response_type', 'code_challenge', 'scope', 'x'];
    for (const name of names) {
      const page = await new Browser().open(`${it.authorizationUrl()}&scope=mcp&x=1&${name}=other`);
      assert.equal(page.status, 400, name);
      assert.equal(page.location, undefined);
    }
    const browser = new Browser();
    assert.equal((await browser.open(`${it.broker.url}/oauth/callback?state=a&state=b&code=c`)).status, 400);
    const { status } = await ask(
      `${it.broker.url}/oauth/consent`,
      'POST',
      { 'Content-Type': 'application/x-www-form-urlencoded' },
      'pending=a&pending=b&csrf=c',
    );
    assert.equal(status, 400);
  });
});

describe('huge and broken inputs get a refusal, never a 5xx', () => {
  test('at every endpoint', async () => {
    await using it = await setStage();
    const form = 'application/x-www-form-urlencoded';
    const huge = `a=${'x'.repeat(70_000)}`;
    const many = Array.from({ length: 5_000 }, (_, index) => `p${index}=1`).join('&');
    const deep = '['.repeat(30_000);
    for (const path of [
      '/oauth/token',
      '/oauth/revoke',
      '/oauth/introspect',
      '/oauth/consent',
      '/oauth/register',
      '/oauth/authorize',
    ]) {
      for (const body of [huge, many, deep, '', '\0', '%', '%ff=%00', '\ud800', '{"redirect_uris":[{}]}']) {
        for (const type of [form, 'application/json', 'multipart/form-data', '']) {
          const { status } = await ask(it.broker.url + path, 'POST', { 'Content-Type': type }, body);
          assert.ok(status >= 400 && status < 500, `${path} ${type} ${body.slice(0, 10)}: ${status}`);
        }
      }
    }
    for (const query of [
      'x'.repeat(15_000),
      many.slice(0, 12_000),
      '%00=%ff',
      'client_id=%00&redirect_uri=%0d%0a',
    ]) {
      const { status } = await ask(`${it.broker.url}/oauth/authorize?${query}`);
      assert.equal(status, 400, query.slice(0, 20));
    }
    assert.ok(!it.broker.log.some(({ event }) => event === 'request.failed'));
  });
});

describe('nothing that opens a door leaves through', () => {
  test('an error, a log line, an audit event or a header', async () => {
    await using it = await setStage();
    const browser = new Browser();
    const answer = await it.signIn(undefined, browser);
    const code = answer.searchParams.get('code') ?? '';
    const { body: tokens } = await it.redeem(code);
    const { clientId, secret = '' } = await it.register({ token_endpoint_auth_method: 'client_secret_post' });
    const secrets = [code, tokens.access_token, tokens.refresh_token, secret, VERIFIER, CHALLENGE].map(
      String,
    );
    const withAll = { client_id: clientId, client_secret: `${secret}x`, code, code_verifier: VERIFIER };
    const answers = [
      await it.redeem(code),
      await it.redeem(code, { code_verifier: `${VERIFIER}x` }),
      await it.refresh(`${tokens.refresh_token}x`),
      await it.refresh(tokens.access_token),
      await it.post('/oauth/token', { ...withAll, grant_type: 'authorization_code' }),
      await it.post('/oauth/introspect', { ...withAll, token: String(tokens.access_token) }),
      await it.post('/oauth/revoke', { ...withAll, token: String(tokens.refresh_token) }),
    ];
    const bearer = { Authorization: `Bearer ${tokens.access_token}x` };
    const refused = await ask(it.broker.mcpUrl, 'POST', bearer);
    const seen = JSON.stringify([
      it.broker.log,
      refused,
      answers.map(({ body, headers }) => [body, [...headers]]),
    ]);
    for (const one of secrets) {
      assert.ok(one.length > 20);
      assert.ok(!seen.includes(one), one.slice(0, 6));
    }
  });

  test('a Referer: a page with a secret in its address sends it nowhere, and neither does the redirect (RFC 9700 §4.2)', async () => {
    await using it = await setStage();
    const browser = new Browser();
    const page = await it.openGrantPage(browser);
    const back = await browser.submit(page, { button: 'true', ...atClient });
    assert.equal(back.headers.get('referrer-policy'), 'same-origin');
    const failed = await browser.open(back.url);
    assert.equal(failed.status, 400);
    assert.equal(failed.headers.get('referrer-policy'), 'same-origin');
    assert.doesNotMatch(failed.body, /https?:\/\//);
  });
});

test('secrets are compared in constant time: no source compares one with ===', () => {
  const folder = resolve(import.meta.dirname, '../../../src');
  const secretly =
    /\b(?:csrf|secretHash|codeChallenge|verifier|secret|cookie|browser)\b\s*[!=]==(?!\s*undefined)/;
  const reversed =
    /(?<!undefined )[!=]==\s*[\w.]*\b(?:csrf|secretHash|codeChallenge|verifier|secret)\b(?!\.\w| ===)/;
  const rooms = ['oauth', 'http', 'identity', 'base'];
  const found = rooms.flatMap((room) =>
    readdirSync(resolve(folder, room)).flatMap((file) =>
      readFileSync(resolve(folder, room, file), 'utf8')
        .split('\n')
        .filter((line) => secretly.test(line) || reversed.test(line))
        .map((line) => `${room}/${file}: ${line.trim()}`),
    ),
  );
  assert.deepEqual(found, []);
  const uses: Readonly<Record<string, RegExp>> = {
    'oauth/pending.ts':
      /sameText\(pending\.csrf, csrf\)[\s\S]*sameText\(pending\.step\.state, state\)[\s\S]*sameText\(pending\.browser/,
    'oauth/clients.ts': /sameText\(sha256\(secret\), client\.secretHash\)/,
    'oauth/pkce.ts': /return sameText\(/,
    'base/ids.ts': /timingSafeEqual\(/,
  };
  for (const [file, use] of Object.entries(uses)) {
    assert.match(readFileSync(resolve(folder, file), 'utf8'), use, file);
  }
});
