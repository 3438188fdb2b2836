/** Client ID Metadata Documents, fetched from a real HTTPS server: what is read, what is refused, how long it is kept. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DAY, MINUTE, SECOND } from '../../src/base/clock.js';
import { createRecordingLog } from '../../src/base/log.js';
import { type PublicFetch, type PublicNetwork, publicFetch } from '../../src/base/public-fetch.js';
import {
  ClientDocuments,
  type DocumentHosts,
  isDocumentId,
  readDocument,
} from '../../src/oauth/client-documents.js';
import type { Client } from '../../src/oauth/clients.js';
import { FetchPlaces } from '../../src/oauth/fetch-places.js';
import { PINNED_DOCUMENTS } from '../../src/oauth/pinned-documents.js';
import { type DocumentHost, startDocumentHost } from '../support/document-host.js';

const CALLBACK = 'https://app.example/callback';
const PATH = '/oauth/client.json';

interface Setting {
  readonly hosts?: DocumentHosts;
  readonly network?: PublicNetwork;
  readonly fetch?: PublicFetch;
  readonly stored?: Client;
}

/** A document host and a broker's view of it, with the time in our hands. */
async function setUp(setting: Setting = {}) {
  const host = await startDocumentHost();
  const id = host.url + PATH;
  const clock = { now: Date.UTC(2026, 0, 1) };
  const events: string[] = [];
  const now = () => clock.now;
  const log = createRecordingLog((_level, event, fields) =>
    events.push(`${event} ${fields.problem ?? ''}`.trim()),
  );
  const fetch = setting.fetch ?? publicFetch(setting.network ?? host.network);
  const documents = new ClientDocuments({
    hosts: setting.hosts ?? 'any',
    places: new FetchPlaces({ fetch, now, log }),
    stored: async () => setting.stored,
    now,
    log,
  });
  /** There is a place for everybody here: what comes when there is none stands in fetch-places.test.ts. */
  const find = async (wanted: string) => {
    const found = await documents.find(wanted, '192.0.2.1');
    assert.ok(found !== 'no_place');
    return found;
  };
  const serve = (more: object = {}, headers: Record<string, string> = {}) =>
    host.serve(PATH, { client_id: id, client_name: 'App', redirect_uris: [CALLBACK], ...more }, headers);
  serve();
  const close = () => host[Symbol.asyncDispose]();
  return { host, id, clock, events, find, serve, [Symbol.asyncDispose]: close };
}

function breakDown(host: DocumentHost, status = 503): void {
  host.route(PATH, (_request, response) => response.writeHead(status).end('<html>'));
}

describe('a client id', () => {
  for (const id of [
    'https://app.example/client.json',
    'https://app.example:8443/a/b?c=d',
    'https://nousresearch.github.io/hermes-agent/docs/oauth/client-metadata.json',
  ]) {
    test(`may be a document: ${id}`, () => assert.equal(isDocumentId(id), true));
  }
  for (const id of [
    'http://app.example/client.json',
    'https://app.example',
    'https://app.example/',
    'https://app.example/a#b',
    'https://app.example/a#',
    'https://user@app.example/a',
    'https://user:password@app.example/a',
    'https://app.example/a/../b',
    'https://app.example/%2e%2e/b',
    'https://app.example/./b',
    'https://APP.example/a',
    'https://app.example:443/a',
    'https:/app.example/a',
    'https:\\\\app.example\\a',
    'https://app.example/a b',
    `https://app.example/${'a'.repeat(2000)}`,
    'ftp://app.example/a',
    'cl_abc',
  ]) {
    test(`is no document: ${id.slice(0, 60)}`, () => assert.equal(isDocumentId(id), false));
  }
});

describe('a document', () => {
  const ID = 'https://app.example/client.json';
  const read = (more: object) =>
    readDocument(ID, JSON.stringify({ client_id: ID, redirect_uris: [CALLBACK], ...more }), 0);

  const REFUSED: Readonly<Record<string, object>> = {
    'of another client id': { client_id: `${ID}?x` },
    'of a client id that differs in case': { client_id: ID.toUpperCase() },
    'without a client id': { client_id: undefined },
    'without redirect URIs': { redirect_uris: [] },
    'with a redirect URI that runs': { redirect_uris: [CALLBACK, 'javascript:alert(1)'] },
    'with a redirect URI over plain http': { redirect_uris: ['http://app.example/cb'] },
    'with a redirect URI that has a fragment': { redirect_uris: [`${CALLBACK}#x`] },
    'that wants a shared secret, which it cannot have': { token_endpoint_auth_method: 'client_secret_basic' },
    'that wants private_key_jwt and names no keys': { token_endpoint_auth_method: 'private_key_jwt' },
    'whose keys are not at an https address': {
      token_endpoint_auth_method: 'private_key_jwt',
      jwks_uri: 'http://app.example/keys',
    },
  };
  for (const [what, more] of Object.entries(REFUSED)) {
    test(`${what} is refused`, () => assert.ok('problem' in read(more)));
  }

  for (const text of ['', 'null', '[]', '"x"', '<html>', '{']) {
    test(`that is ${text || 'empty'} is refused`, () => assert.ok('problem' in readDocument(ID, text, 0)));
  }

  const JWKS = { jwks_uri: 'https://app.example/keys' };
  const METHODS: readonly (readonly [
    what: string,
    more: object,
    method: string,
    jwksUri: string | undefined,
  ])[] = [
    ['nothing', {}, 'none', undefined],
    ['one method', { token_endpoint_auth_method: 'none' }, 'none', undefined],
    ['a list', { token_endpoint_auth_methods_supported: ['none'] }, 'none', undefined],
    ['keys', { token_endpoint_auth_method: 'private_key_jwt', ...JWKS }, 'private_key_jwt', JWKS.jwks_uri],
    [
      'a list of both',
      { token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'], ...JWKS },
      'none',
      JWKS.jwks_uri,
    ],
    [
      'one in each spelling',
      {
        token_endpoint_auth_method: 'private_key_jwt',
        token_endpoint_auth_methods_supported: ['none'],
        ...JWKS,
      },
      'none',
      JWKS.jwks_uri,
    ],
    [
      'a method we do not know, among others',
      { token_endpoint_auth_methods_supported: ['tls_client_auth', 'none'] },
      'none',
      undefined,
    ],
  ];
  for (const [what, more, method, jwksUri] of METHODS) {
    test(`may say how its client authenticates by ${what}`, () => {
      const client = read(more);
      assert.ok('authMethod' in client);
      assert.equal(client.authMethod, method);
      assert.equal(client.jwksUri, jwksUri);
    });
  }

  test('may hold members, grant types and nulls that mean nothing here', () => {
    const client = read({
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:jwt-bearer'],
      application_type: 'native',
      logo_uri: 'https://app.example/logo.png',
      client_secret: 'ignored',
      client_uri: null,
      jwks_uri: null,
      x: { y: [1] },
    });
    assert.ok('grantTypes' in client);
    assert.deepEqual(client.grantTypes, ['authorization_code', 'refresh_token']);
    assert.equal(client.secretHash, undefined);
    assert.equal(client.name, 'app.example');
  });
});

test('a name that is too long costs a document nothing but its end', () => {
  const id = 'https://app.example/client.json';
  const text = JSON.stringify({ client_id: id, redirect_uris: [CALLBACK], client_name: 'x'.repeat(5000) });
  const client = readDocument(id, text, 0);
  assert.ok('name' in client);
  assert.equal(client.name, 'x'.repeat(200));
});

test('a document that anybody may make up holds 11 KiB at most, in each of the ten thousand sign-ins that may be under way', () => {
  const padded = (path: string) => `https://app.example/${path}`.padEnd(2000, 'x');
  const id = padded('client');
  const largest = {
    client_id: id,
    client_name: '😀'.repeat(10_000),
    client_uri: padded('home'),
    jwks_uri: padded('keys'),
    token_endpoint_auth_method: 'private_key_jwt',
    redirect_uris: Array.from({ length: 50 }, (_, index) => `https://app.example/${index}`.padEnd(81, 'x')),
    more: 'x'.repeat(40_000),
  };
  const client = readDocument(id, JSON.stringify(largest), 0);
  assert.ok('redirectUris' in client, JSON.stringify(client));
  assert.ok(JSON.stringify(client).length <= 11 * 1024);
  const larger = { ...largest, redirect_uris: [...largest.redirect_uris.slice(1), padded('cb')] };
  assert.deepEqual(readDocument(id, JSON.stringify(larger), 0), {
    problem: 'a redirect URI: all of them are longer than 4096 characters together',
  });
});

test('every pinned copy is a good document of its own id', () => {
  assert.equal(PINNED_DOCUMENTS.size, 8);
  for (const [id, text] of PINNED_DOCUMENTS) {
    assert.ok(isDocumentId(id), id);
    assert.ok('redirectUris' in readDocument(id, text, 0), id);
  }
});

describe('fetching', () => {
  test('gives the client that the document describes', async () => {
    await using it = await setUp();
    const client = await it.find(it.id);
    assert.equal(client?.kind, 'document');
    assert.deepEqual(client?.redirectUris, [CALLBACK]);
    assert.deepEqual(it.host.requests, [PATH]);
  });

  test('fails on a redirect, another status, another type, a foreign client id, or too much', async () => {
    await using it = await setUp();
    const fail = async (problem: RegExp) => {
      it.clock.now += 2 * MINUTE;
      assert.equal(await it.find(it.id), undefined);
      assert.match(it.events.at(-1) ?? '', problem);
    };
    it.host.route(PATH, (_request, response) => response.writeHead(302, { Location: '/other' }).end());
    await fail(/redirect/);
    breakDown(it.host, 403);
    await fail(/status 403/);
    it.serve({}, { 'Content-Type': 'text/html' });
    await fail(/not JSON/);
    it.serve({ client_id: `${it.id}x` });
    await fail(/client_id/);
    it.serve({ padding: 'x'.repeat(65_536) });
    await fail(/too_large/);
    it.serve({}, { 'Content-Type': 'application/cimd+json; charset=utf-8' });
    it.clock.now += 2 * MINUTE;
    assert.ok(await it.find(it.id));
  });

  test('asks with five seconds and 64 KiB', async () => {
    const asked: object[] = [];
    await using it = await setUp({
      fetch: async (_url, options) => {
        asked.push(options);
        return { failure: 'timeout' };
      },
    });
    await it.find(it.id);
    assert.deepEqual(asked, [{ timeoutMs: 5_000, maxBytes: 65_536 }]);
  });

  test('happens once, however many ask at the same time', async () => {
    await using it = await setUp();
    const found = await Promise.all(Array.from({ length: 20 }, () => it.find(it.id)));
    assert.equal(new Set(found).size, 1);
    assert.equal(it.host.requests.length, 1);
  });

  test('is for hosts on the list only, and for none when it is off', async () => {
    for (const [hosts, found] of [
      ['any', true],
      [['documents.test'], true],
      [['test', 'other.documents.test', 'uments.test'], false],
      ['off', false],
    ] as const) {
      await using it = await setUp({ hosts });
      assert.equal((await it.find(it.id)) !== undefined, found, String(hosts));
      assert.equal(it.host.requests.length, found ? 1 : 0);
    }
    await using it = await setUp({ hosts: 'off' });
    assert.equal(await it.find('https://claude.ai/oauth/mcp-oauth-client-metadata'), undefined);
  });
});

describe('a fetched document is used', () => {
  const CASES: readonly (readonly [headers: Record<string, string>, forMs: number])[] = [
    [{}, MINUTE],
    [{ 'Cache-Control': 'no-store' }, MINUTE],
    [{ 'Cache-Control': 'no-cache' }, MINUTE],
    [{ 'Cache-Control': 'max-age=5' }, MINUTE],
    [{ 'Cache-Control': 'max-age=3600' }, 3600 * SECOND],
    [{ 'Cache-Control': 'max-age=3600', Age: '600' }, 3000 * SECOND],
    [{ 'Cache-Control': 'max-age=31536000, immutable' }, 7 * DAY],
    [{ 'Cache-Control': 'max-age=banana' }, MINUTE],
  ];
  for (const [headers, forMs] of CASES) {
    test(`for ${forMs / SECOND} s with the headers ${JSON.stringify(headers)}`, async () => {
      await using it = await setUp();
      it.serve({}, headers);
      await it.find(it.id);
      it.clock.now += forMs - 2 * SECOND;
      await it.find(it.id);
      assert.equal(it.host.requests.length, 1);
      it.clock.now += 3 * SECOND;
      await it.find(it.id);
      assert.equal(it.host.requests.length, 2);
    });
  }

  test('in its newest form: a redirect URI that it dropped is gone', async () => {
    await using it = await setUp();
    await it.find(it.id);
    it.serve({ redirect_uris: ['https://app.example/new'] });
    it.clock.now += 2 * MINUTE;
    assert.deepEqual((await it.find(it.id))?.redirectUris, ['https://app.example/new']);
  });
});

describe('when a fetch fails', () => {
  test('the last good copy serves for days, and the log says so', async () => {
    await using it = await setUp();
    await it.find(it.id);
    breakDown(it.host);
    it.clock.now += 20 * DAY;
    assert.ok(await it.find(it.id));
    assert.ok(it.events.includes('client.document_stale'));
  });

  test('it is not tried again for a minute at most', async () => {
    await using it = await setUp();
    breakDown(it.host);
    await it.find(it.id);
    it.clock.now += 59 * SECOND;
    await it.find(it.id);
    assert.equal(it.host.requests.length, 1);
    it.serve();
    it.clock.now += SECOND;
    assert.ok(await it.find(it.id));
    assert.equal(it.host.requests.length, 2);
  });

  test('after a restart the stored copy serves', async () => {
    const id = 'https://gone.test/client.json';
    const stored = readDocument(id, JSON.stringify({ client_id: id, redirect_uris: [CALLBACK] }), 0);
    assert.ok(!('problem' in stored));
    await using it = await setUp({ stored });
    breakDown(it.host);
    assert.equal(await it.find(id), stored);
  });

  test('our own copy of a well-known document serves, marked as such', async () => {
    const network: PublicNetwork = {
      lookup: (_name, _options, callback) => callback(new Error('no network'), []),
      isPublic: () => true,
    };
    await using it = await setUp({ network });
    for (const id of PINNED_DOCUMENTS.keys()) {
      assert.equal((await it.find(id))?.pinned, true, id);
    }
    assert.ok(it.events.includes('client.document_pinned'));
    assert.equal(await it.find('https://claude.ai/oauth/other'), undefined);
  });

  test('a private address behind the id is such a failure, and is never connected to', async () => {
    await using it = await setUp();
    const { network } = it.host;
    const guarded = publicFetch({ ...network, isPublic: () => false });
    await using other = await setUp({ fetch: guarded });
    assert.equal(await other.find(it.id), undefined);
    assert.match(other.events.join(), /not_public/);
    assert.equal(it.host.requests.length, 0);
  });
});

test('a flood of documents holds a bounded part of the memory, and costs nobody a copy that is kept elsewhere', async () => {
  let fetched = 0;
  const fetch: PublicFetch = async (id) => {
    fetched += 1;
    const text = JSON.stringify({ client_id: id, redirect_uris: [CALLBACK] });
    return {
      status: 200,
      contentType: 'application/json',
      text,
      headers: { 'cache-control': 'max-age=86400' },
    };
  };
  await using it = await setUp({ fetch });
  await it.find('https://first.example/a');
  for (let index = 0; index < 300; index += 1) await it.find(`https://flood.example/${index}`);
  assert.ok(await it.find('https://first.example/a'));
  assert.equal(fetched, 302, 'the oldest made room and was fetched again');
});
