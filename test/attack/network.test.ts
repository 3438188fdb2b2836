/** Attacks from and through the network: addresses that we are made to fetch, headers that lie, and floods. */
import assert from 'node:assert/strict';
import type { OutgoingHttpHeaders } from 'node:http';
import { describe, test } from 'node:test';
import { isPublicAddress, type PublicNetwork } from '../../src/base/public-fetch.js';
import { until } from '../fixtures/until.js';
import { ask } from '../support/ask.js';
import { Browser } from '../support/browser.js';
import { startDocumentHost } from '../support/document-host.js';
import { parseForms } from '../support/html.js';
import { NOWHERE } from '../support/oauth-client.js';
import { setStage } from '../support/stage.js';

describe('SSRF', () => {
  test('through client_id: at every endpoint that takes one, no private address is connected to', async () => {
    await using host = await startDocumentHost();
    // The server stands on loopback, and this time its address is judged for what it is.
    const network: PublicNetwork = { ...host.network, isPublic: isPublicAddress };
    await using it = await setStage({ network });
    for (const id of [
      'https://documents.test/client.json',
      'https://127.0.0.1/client.json',
      'https://[::1]/client.json',
      'https://localhost/client.json',
    ]) {
      const client = { clientId: id, redirectUri: 'https://app.example/cb' };
      const page = await new Browser().open(it.authorizationUrl(client));
      assert.equal(page.status, 400, id);
      assert.match(page.body, /could not be read/);
      for (const path of ['/oauth/token', '/oauth/revoke', '/oauth/introspect']) {
        const { status, body } = await it.post(path, { client_id: id, token: 'x', grant_type: 'x' });
        assert.equal(status, 401, path);
        // The caller learns nothing of what is there: not even whether there is something.
        assert.deepEqual(body, {
          error: 'invalid_client',
          error_description: 'Client authentication failed.',
        });
      }
    }
    assert.deepEqual(host.requests, []);
    assert.ok(it.broker.log.some(({ fields }) => fields.problem === 'not_public'));
  });

  test('through the port of a client_id: none but 443 is asked, except at a host that the operator named', async () => {
    await using host = await startDocumentHost();
    for (const [named, status, requests] of [
      ['any', 400, 0],
      ['documents.test', 200, 1],
    ] as const) {
      await using it = await setStage({
        network: host.network,
        env: { BROKER_CLIENT_DOCUMENTS: named },
      });
      const clientId = 'https://documents.test:8443/client.json';
      host.serve('/client.json', { client_id: clientId, redirect_uris: ['https://app.example/cb'] });
      const page = await ask(it.authorizationUrl({ clientId, redirectUri: 'https://app.example/cb' }));
      assert.deepEqual([page.status, host.requests.length], [status, requests]);
    }
  });

  test('through jwks_uri, registered or in a document: only https, and no private address', async () => {
    await using host = await startDocumentHost();
    const documents = new Set(['documents.test']);
    const names: string[] = [];
    const network: PublicNetwork = {
      ...host.network,
      lookup: (name, options, callback) => {
        names.push(name);
        if (documents.has(name)) host.network.lookup(name, options, callback);
        else callback(null, [{ address: '10.0.0.1', family: 4 }]);
      },
      isPublic: (address) => address === '127.0.0.1',
    };
    await using it = await setStage({ network });
    const id = `${host.url}/client.json`;
    host.serve('/client.json', {
      client_id: id,
      redirect_uris: ['https://app.example/cb'],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks_uri: 'https://internal.test/keys',
    });
    const claims = Buffer.from(JSON.stringify({ sub: id })).toString('base64url');
    const header = Buffer.from(JSON.stringify({ alg: 'RS256', kid: 'x' })).toString('base64url');
    const { status, body } = await it.post('/oauth/token', {
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: `${header}.${claims}.AAAA`,
      grant_type: 'authorization_code',
    });
    // The keys could not be had: that says nothing about the client.
    assert.deepEqual([status, body.error], [503, 'temporarily_unavailable']);
    assert.deepEqual(names, ['documents.test', 'internal.test']);
    for (const jwksUri of ['http://app.example/keys', 'file:///etc/passwd', undefined]) {
      const response = await fetch(`${it.broker.url}/oauth/register`, {
        method: 'POST',
        body: JSON.stringify({
          redirect_uris: ['https://app.example/cb'],
          token_endpoint_auth_method: 'private_key_jwt',
          jwks_uri: jwksUri,
        }),
      });
      assert.equal(response.status, 400, jwksUri);
    }
  });
});

describe('a request that lies about where it came to', () => {
  const LIES: readonly OutgoingHttpHeaders[] = [
    { 'X-Forwarded-Host': 'evil.example', 'X-Forwarded-Proto': 'https', 'X-Forwarded-Port': '444' },
    { Forwarded: 'host=evil.example;proto=https' },
    { 'X-Host': 'evil.example', 'X-Original-Host': 'evil.example', 'X-Forwarded-Server': 'evil.example' },
    { 'X-Original-URL': '/evil', 'X-Rewrite-URL': '/evil', 'X-Forwarded-Prefix': '/evil' },
    { 'X-HTTP-Method-Override': 'DELETE' },
  ];
  test('changes no address in any answer: not the issuer, not a page, not a redirect', async () => {
    await using it = await setStage();
    const paths = [
      '/.well-known/oauth-authorization-server',
      '/.well-known/oauth-protected-resource/mcp',
      '/mcp',
      '/',
    ];
    const authorize = new URL(it.authorizationUrl());
    for (const path of [...paths, authorize.pathname + authorize.search]) {
      for (const headers of LIES) {
        const { body, headers: answered, status } = await ask(it.broker.url + path, 'GET', headers);
        assert.ok(status === 200 || status === 401);
        assert.doesNotMatch(body + JSON.stringify(answered), /evil|:444(?!\d)/, path);
      }
    }
  });

  test('with another Host, or two, is refused before anything else is done', async () => {
    await using it = await setStage();
    const before = it.broker.log.length;
    for (const host of [
      'evil.example',
      `${new URL(it.broker.url).host}.evil.example`,
      'evil.example:80',
      '@',
    ]) {
      const { status } = await ask(it.authorizationUrl(), 'GET', { Host: host });
      assert.ok(status === 403 || status === 400, `${host}: ${status}`);
    }
    assert.equal(it.broker.log.length, before);
  });
});

describe('a flood', () => {
  /** A request that costs nothing but its place in the measure: answered 404, or 429. */
  const knock = (url: string, forwardedFor: string | string[], path = '/oauth/register') =>
    ask(url + path, 'GET', { 'X-Forwarded-For': forwardedFor });
  const refusedOf = async (count: number, task: (index: number) => Promise<{ status: number }>) => {
    let refused = 0;
    for (let index = 0; index < count; index += 1) {
      const { status } = await task(index);
      assert.ok(status === 404 || status === 429, String(status));
      if (status === 429) refused += 1;
    }
    return refused;
  };

  test('is answered 429 with Retry-After in whole seconds, and never cached; a neighbour is not', async () => {
    await using it = await setStage();
    const { url } = it.broker;
    assert.equal(await refusedOf(70, () => knock(url, '198.51.100.7')), 10);
    const { status, headers, body } = await ask(`${url}/oauth/register`, 'POST', {
      'X-Forwarded-For': '198.51.100.7',
    });
    assert.equal(status, 429);
    assert.match(headers['retry-after'] ?? '', /^([1-9]|[1-5]\d|60)$/);
    assert.match(headers['cache-control'] ?? '', /no-store/);
    assert.equal((JSON.parse(body) as { error: string }).error, 'temporarily_unavailable');
    assert.equal((await knock(url, '198.51.100.8')).status, 404);
  });

  test('under another spelling of the path is the same flood', async () => {
    await using it = await setStage();
    const spellings = ['/oauth/register', '/oauth/register/', '/oauth/%72egister'];
    const refused = await refusedOf(70, (index) =>
      knock(it.broker.url, '198.51.100.7', spellings[index % 3]),
    );
    assert.ok(refused >= 9, `${refused} refused`);
  });

  test('names its source by X-Forwarded-For only as far as trusted proxies vouch for it', async () => {
    await using it = await setStage({ env: { BROKER_TRUSTED_PROXIES: '127.0.0.1 10.0.0.0/8' } });
    const chains: readonly ((index: number) => string | string[])[] = [
      (index) => `203.0.113.${index}, 198.51.100.1`,
      (index) => `203.0.113.${index}, 198.51.100.2, 10.1.2.3`,
      (index) => [`203.0.113.${index}`, '198.51.100.3'],
      (index) => `203.0.113.${index}, nonsense, 10.0.0.1`,
    ];
    for (const chain of chains) {
      assert.equal(await refusedOf(70, (index) => knock(it.broker.url, chain(index))), 10, String(chain(1)));
    }
    // What is no address names nobody: it counts for the proxy, which registered the client of this stage.
    assert.equal(await refusedOf(70, (index) => knock(it.broker.url, `${index}.1.1.1, 999.1.1.1`)), 11);
  });

  test('cannot name itself when no proxy is trusted', async () => {
    await using it = await setStage({ env: { BROKER_TRUSTED_PROXIES: '192.0.2.1' } });
    // The stage registered a client already.
    assert.equal(await refusedOf(70, (index) => knock(it.broker.url, `203.0.113.${index}`)), 11);
  });

  test('from one IPv6 /64 is one flood, however its addresses are written; the next /64 is another', async () => {
    await using it = await setStage();
    const spell = (index: number) =>
      [
        `2001:db8:0:1::${index.toString(16)}`,
        `2001:0DB8:0000:0001:ffff:${index}::`,
        `2001:db8:0:1:a:b:c:${index}`,
      ][index % 3] ?? '';
    assert.equal(await refusedOf(70, (index) => knock(it.broker.url, spell(index))), 10);
    assert.equal((await knock(it.broker.url, '2001:db8:0:2::1')).status, 404);
    const mapped = (index: number) => (index % 2 === 0 ? '203.0.113.9' : '::ffff:203.0.113.9');
    assert.equal(await refusedOf(70, (index) => knock(it.broker.url, mapped(index))), 10);
  });

  test('that is everybody behind a hosted client is none: 160.79.104.0/21 may do fifty times as much', async () => {
    await using it = await setStage();
    for (const [address, refused] of [
      ['160.79.104.1', 0],
      ['160.79.111.255', 0],
      ['160.79.112.1', 10],
      ['160.79.103.255', 10],
    ] as const) {
      assert.equal(await refusedOf(70, () => knock(it.broker.url, address)), refused, address);
    }
  });

  test('of sign-ins with the client that everybody uses ends those of its own network, and no others', async () => {
    await using it = await setStage();
    const begin = (address: string, cookie = '') =>
      ask(it.authorizationUrl(), 'GET', { 'X-Forwarded-For': address, Cookie: cookie });
    const continues = async (address: string, { headers, body }: Awaited<ReturnType<typeof begin>>) => {
      const form = new URLSearchParams([...(parseForms(body)[0]?.fields ?? [])]);
      form.set('decision', 'cancel');
      const sent = {
        'X-Forwarded-For': address,
        'Content-Type': 'application/x-www-form-urlencoded',
        Cookie: (headers['set-cookie']?.[0] ?? '').split(';')[0],
      };
      return (await ask(`${it.broker.url}/oauth/consent`, 'POST', sent, form.toString())).status === 303;
    };
    const honest = await begin('198.51.100.7');
    const first = await begin('160.79.104.1');
    for (let batch = 0; batch < 50; batch += 1) {
      const pages = await Promise.all(Array.from({ length: 10 }, () => begin('160.79.104.1')));
      assert.ok(pages.every(({ status }) => status === 200));
    }
    assert.ok(await continues('198.51.100.7', honest));
    assert.ok(!(await continues('160.79.104.1', first)));
  });

  test('of one kind leaves the others alone, and each request counts once', async () => {
    await using it = await setStage();
    const from = (path: string) => () => knock(it.broker.url, '198.51.100.7', path);
    assert.equal(await refusedOf(250, from('/oauth/consent')), 10);
    assert.equal(await refusedOf(700, from('/oauth/introspect')), 0);
    assert.equal(await refusedOf(1, from('/oauth/register')), 0);
  });
});

describe('slow hosts of documents', () => {
  test('keep out nobody but their own host and network, and these are asked to try again, not told that they are unknown', async () => {
    await using host = await startDocumentHost();
    await using it = await setStage({ network: host.network });
    const held: (() => void)[] = [];
    const authorize = (id: string, forwardedFor: string) =>
      ask(it.authorizationUrl({ clientId: id, redirectUri: 'https://app.example/cb' }), 'GET', {
        'X-Forwarded-For': forwardedFor,
      });
    const slow = [1, 2, 3, 4, 5].map((n) => {
      const id = host.route(`/slow/${n}`, (_request, response) => held.push(() => response.end()));
      return authorize(id, '198.51.100.7');
    });
    await until('five fetches', () => held.length === 5);

    const id = host.serve('/client.json', { client_id: `${host.url}/client.json`, redirect_uris: [NOWHERE] });
    const page = await authorize(id, '203.0.113.1');
    assert.equal(page.status, 503);
    assert.match(page.headers['content-type'] ?? '', /^text\/html/);
    assert.match(page.headers['retry-after'] ?? '', /^\d+$/);
    assert.match(page.body, /Wait a few seconds, then reload/);
    assert.doesNotMatch(page.body, /not known/);
    for (const path of ['/oauth/token', '/oauth/revoke']) {
      const { status, headers, body } = await it.post(path, { client_id: id, grant_type: 'refresh_token' });
      assert.deepEqual([status, body.error], [503, 'temporarily_unavailable'], path);
      assert.match(headers.get('retry-after') ?? '', /^\d+$/);
    }
    // The certificate of our host is no good for another name, so a fetch that takes place fails at once.
    const elsewhere = 'https://elsewhere.test/client.json';
    assert.equal((await authorize(elsewhere, '198.51.100.7')).status, 503);
    assert.equal((await authorize(elsewhere, '203.0.113.1')).status, 400);

    for (const release of held) release();
    for (const answer of slow) assert.equal((await answer).status, 400);
    assert.notEqual((await authorize(id, '198.51.100.7')).status, 503);
  });
});

describe('limits after authentication', () => {
  test('one client cannot use up what others need at the token endpoint', async () => {
    await using stage = await setStage();
    const confidential = () => stage.register({ token_endpoint_auth_method: 'client_secret_post' });
    const ask = (client: Awaited<ReturnType<typeof confidential>>) =>
      stage.post('/oauth/token', {
        client_id: client.clientId,
        client_secret: client.secret ?? '',
        grant_type: 'refresh_token',
        refresh_token: 'x',
      });
    const client = await confidential();
    let refused: Awaited<ReturnType<typeof ask>> | undefined;
    for (let batch = 0; batch < 31 && refused === undefined; batch += 1) {
      const answers = await Promise.all(Array.from({ length: 10 }, () => ask(client)));
      refused = answers.find(({ status }) => status === 429);
    }
    assert.match(refused?.headers.get('retry-after') ?? '', /^([1-9]|[1-5]\d|60)$/);
    assert.equal((await ask(await confidential())).status, 400);
  });

  test('a person who meets the limit gets a page that says how long to wait', async () => {
    await using stage = await setStage();
    const statuses = async () => {
      const page = await fetch(`${stage.broker.url}/oauth/authorize`);
      return { status: page.status, type: page.headers.get('content-type') ?? '', text: await page.text() };
    };
    const pages = [];
    for (let batch = 0; batch < 25; batch += 1) {
      pages.push(...(await Promise.all(Array.from({ length: 10 }, statuses))));
    }
    const busy = pages.find(({ status }) => status === 429);
    assert.match(busy?.type ?? '', /^text\/html/);
    assert.match(busy?.text ?? '', /Wait \d+ seconds/);
  });
});
