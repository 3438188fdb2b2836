/** What stands before every route, on real sockets: Host, Origin, CORS, the 401, discovery, headers. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ask } from '../support/ask.js';
import { startTestBroker } from '../support/broker.js';
import { obtainTokens } from '../support/oauth-client.js';

describe('the Host header', () => {
  test("must be the broker's own: any loopback name when it is loopback, nothing else", async () => {
    await using broker = await startTestBroker();
    for (const host of ['127.0.0.1', 'localhost:1234', '[::1]:80', new URL(broker.url).host]) {
      assert.equal((await ask(broker.mcpUrl, 'POST', { Host: host })).status, 401, host);
    }
    for (const host of [
      'evil.example',
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      'xn--localhost',
    ]) {
      for (const path of ['/mcp', '/oauth/authorize', '/', '/.well-known/oauth-authorization-server']) {
        assert.equal((await ask(broker.url + path, 'GET', { Host: host })).status, 403, `${host}${path}`);
      }
    }
  });

  test('must be exactly the public one when that is public, with or without its default port', async () => {
    await using broker = await startTestBroker({
      env: { BROKER_PUBLIC_URL: 'https://mcp.example.org', FORGEJO_CLIENT_ID: 'x' },
    });
    for (const [host, status] of [
      ['mcp.example.org', 401],
      ['MCP.example.org:443', 401],
      ['mcp.example.org:80', 403],
      ['127.0.0.1', 403],
      ['mcp.example.org.evil.example', 403],
    ] as const) {
      assert.equal((await ask(broker.mcpUrl, 'GET', { Host: host })).status, status, host);
    }
  });

  test('never shows in what the broker says about itself', async () => {
    await using broker = await startTestBroker();
    const headers = { Host: 'localhost:1', 'X-Forwarded-Host': 'evil.example', 'X-Forwarded-Proto': 'https' };
    for (const path of [
      '/.well-known/oauth-authorization-server',
      '/.well-known/oauth-protected-resource/mcp',
      '/mcp',
    ]) {
      const { body, headers: answered } = await ask(broker.url + path, 'GET', headers);
      assert.doesNotMatch(body + JSON.stringify(answered), /evil|localhost:1/);
    }
  });
});

describe('a request without a good token', () => {
  const BEARER =
    /^Bearer (error="invalid_token", error_description="[^"]+", )?resource_metadata="[^"]+", scope="mcp"$/;

  for (const method of ['GET', 'POST', 'DELETE', 'HEAD', 'PUT']) {
    test(`is challenged before anything else is looked at: ${method}`, async () => {
      await using broker = await startTestBroker();
      const odd = { Accept: '*/*', 'MCP-Protocol-Version': '1999-01-01', 'Mcp-Session-Id': 'nonsense' };
      for (const authorization of [undefined, 'Bearer fja_unknown', 'Bearer', 'Basic abc', 'Bearer a b']) {
        const { status, headers } = await ask(broker.mcpUrl, method, {
          ...odd,
          ...(authorization === undefined ? {} : { Authorization: authorization }),
        });
        assert.equal(status, 401, authorization);
        assert.match(headers['www-authenticate'] ?? '', BEARER);
      }
    });
  }

  test('is pointed at the metadata of the very URL it asked, slash included', async () => {
    await using broker = await startTestBroker();
    for (const path of ['/mcp', '/mcp/', '/mcp/forgejo']) {
      const { headers } = await ask(broker.url + path, 'POST');
      const pointer = /resource_metadata="([^"]+)"/.exec(headers['www-authenticate'] ?? '')?.[1] ?? '';
      const { resource } = JSON.parse((await ask(pointer)).body) as { resource: string };
      assert.equal(resource, broker.url + path);
    }
  });

  test('with a token for another endpoint is refused there', async () => {
    await using broker = await startTestBroker();
    const { access_token } = await obtainTokens(`${broker.url}/mcp/forgejo`, broker.person('alice'));
    const as = { Authorization: `Bearer ${access_token}` };
    assert.notEqual((await ask(`${broker.url}/mcp/forgejo`, 'HEAD', as)).status, 401);
    assert.notEqual((await ask(`${broker.url}/mcp/forgejo/`, 'HEAD', as)).status, 401);
    assert.equal((await ask(broker.mcpUrl, 'HEAD', as)).status, 401);
  });

  test('in the query string is not looked at (RFC 6750 §2.3)', async () => {
    await using broker = await startTestBroker();
    const { access_token } = await obtainTokens(broker.mcpUrl, broker.person('alice'));
    assert.equal((await ask(`${broker.mcpUrl}?access_token=${access_token}`, 'HEAD')).status, 401);
  });
});

describe('browsers of other origins', () => {
  test('may call by default, are preflighted without a token, and see the headers they need', async () => {
    await using broker = await startTestBroker();
    const asked =
      'authorization, content-type, mcp-session-id, mcp-protocol-version, mcp-param-x, last-event-id';
    for (const path of [
      '/mcp',
      '/mcp/forgejo',
      '/oauth/token',
      '/oauth/register',
      '/oauth/revoke',
      '/.well-known/oauth-protected-resource/mcp',
    ]) {
      const { status, headers } = await ask(broker.url + path, 'OPTIONS', {
        Origin: 'https://app.example',
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': asked,
      });
      assert.equal(status, 204, path);
      assert.equal(headers['access-control-allow-origin'], '*');
      assert.equal(headers['access-control-allow-credentials'], undefined);
      assert.equal(headers['access-control-allow-headers']?.replaceAll(' ', ''), asked.replaceAll(' ', ''));
      for (const method of ['GET', 'POST', 'DELETE']) {
        assert.ok(headers['access-control-allow-methods']?.includes(method));
      }
    }
    const { status, headers } = await ask(broker.mcpUrl, 'POST', { Origin: 'https://app.example' });
    assert.equal(status, 401);
    for (const name of ['WWW-Authenticate', 'Mcp-Session-Id', 'MCP-Protocol-Version']) {
      assert.ok(headers['access-control-expose-headers']?.includes(name));
    }
  });

  test('are limited to the list when there is one', async () => {
    await using broker = await startTestBroker({ env: { BROKER_ALLOWED_ORIGINS: 'https://app.example' } });
    const post = (origin?: string) =>
      ask(broker.mcpUrl, 'POST', origin === undefined ? {} : { Origin: origin });
    assert.equal((await post('https://app.example')).status, 401);
    assert.equal(
      (await post('https://app.example')).headers['access-control-allow-origin'],
      'https://app.example',
    );
    assert.equal((await post()).status, 401);
    assert.equal((await post(broker.url)).status, 401);
    assert.equal((await post('https://evil.example')).status, 403);
    assert.equal((await post('null')).status, 403);
  });

  test('get no CORS at the pages of a sign-in', async () => {
    await using broker = await startTestBroker();
    const { headers } = await ask(`${broker.url}/oauth/authorize`, 'GET', { Origin: 'https://app.example' });
    assert.equal(headers['access-control-allow-origin'], undefined);
  });
});

describe('discovery', () => {
  test('answers with JSON where clients look, and with a JSON 404 everywhere else', async () => {
    await using broker = await startTestBroker();
    for (const path of [
      'oauth-authorization-server',
      'oauth-authorization-server/mcp',
      'oauth-authorization-server/mcp/forgejo',
    ]) {
      const answer = await ask(`${broker.url}/.well-known/${path}`);
      assert.equal(answer.status, 200, path);
      assert.equal((JSON.parse(answer.body) as { issuer: string }).issuer, broker.url);
    }
    const root = JSON.parse((await ask(`${broker.url}/.well-known/oauth-protected-resource`)).body);
    assert.equal((root as { resource: string }).resource, broker.url);
    for (const path of [
      'openid-configuration',
      'openid-configuration/mcp',
      'oauth-protected-resource/other',
      'anything',
    ]) {
      const answer = await ask(`${broker.url}/.well-known/${path}`);
      assert.equal(answer.status, 404, path);
      assert.match(answer.headers['content-type'] ?? '', /^application\/json/);
      JSON.parse(answer.body);
    }
  });

  test('holds no null and no secret of the broker', async () => {
    await using broker = await startTestBroker();
    for (const path of ['oauth-authorization-server', 'oauth-protected-resource/mcp']) {
      assert.doesNotMatch((await ask(`${broker.url}/.well-known/${path}`)).body, /null/);
    }
  });
});

test('every answer has the headers that keep browsers from guessing, and pages cannot be framed', async () => {
  await using broker = await startTestBroker();
  for (const path of [
    '/',
    '/mcp',
    '/nowhere',
    '/oauth/authorize',
    '/.well-known/oauth-authorization-server',
  ]) {
    const { headers } = await ask(broker.url + path);
    assert.equal(headers['x-content-type-options'], 'nosniff', path);
    assert.equal(headers['strict-transport-security'], undefined);
  }
  const page = await ask(`${broker.url}/`);
  assert.match(String(page.headers['content-security-policy']), /default-src 'none'.*frame-ancestors 'none'/);
  assert.ok(page.body.includes(broker.mcpUrl));
});

test('what breaks inside costs the caller an incident id, never a stack trace, and the log has the cause', async () => {
  // The same bytes each time: the second client gets an id that is taken, which the store does not expect.
  await using broker = await startTestBroker({ random: (size) => Buffer.alloc(size, 3) });
  const register = () =>
    ask(`${broker.url}/oauth/register`, 'POST', {}, '{"redirect_uris":["https://a.example/b"]}');
  assert.equal((await register()).status, 201);
  const { status, body } = await register();
  assert.equal(status, 500);
  assert.equal((JSON.parse(body) as { error: string }).error, 'server_error');
  assert.doesNotMatch(body, /SQLITE|at |\.js/);
  const incident = /in_[\w-]+/.exec(body)?.[0];
  const logged = broker.log.find(({ event }) => event === 'request.failed');
  assert.equal(logged?.fields.incident, incident);
  assert.match(String(logged?.fields.error), /SQLITE_CONSTRAINT|UNIQUE/);
});
