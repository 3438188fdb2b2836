/**
 * Every client we know, request by request: what it fetches and in which order, what it registers, what it asks for,
 * how it redeems and refreshes. One row a client; the steps are the same for all, because they are the standard's.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import type { PublicNetwork } from '../../src/base/public-fetch.js';
import { ask } from '../support/ask.js';
import { NO_NETWORK, startTestBroker, type TestBroker } from '../support/broker.js';
import { Browser, signIn } from '../support/browser.js';
import { type DocumentHost, startDocumentHost } from '../support/document-host.js';
import { CLIENT_ROWS, type ClientRow, type DiscoveryStep } from './rows.js';

const RS256 = await generateKeyPair('RS256', { extractable: true });

type Json = Readonly<Record<string, unknown>>;

function parse(body: string): Json {
  return JSON.parse(body) as Json;
}

async function walkDiscovery(broker: TestBroker, steps: readonly DiscoveryStep[]): Promise<Json> {
  let metadata: Json = {};
  for (const [method, path, status, headers = {}] of steps) {
    const answer = await ask(broker.url + path, method, headers);
    assert.equal(answer.status, status, `${method} ${path}`);
    if (path.startsWith('/mcp')) {
      assert.match(
        answer.headers['www-authenticate'] ?? '',
        /^Bearer resource_metadata="[^"]+", scope="mcp"$/,
      );
    } else {
      assert.match(answer.headers['content-type'] ?? '', /^application\/json/);
      if (status === 200) assert.doesNotMatch(answer.body, /null/);
    }
    if (path.startsWith('/.well-known/oauth-protected-resource/mcp')) {
      assert.equal(parse(answer.body).resource, broker.mcpUrl);
      assert.deepEqual(parse(answer.body).authorization_servers, [broker.url]);
    }
    if (path === '/.well-known/oauth-authorization-server') metadata = parse(answer.body);
  }
  assert.equal(metadata.issuer, broker.url);
  assert.ok((metadata.token_endpoint_auth_methods_supported as string[]).includes('none'));
  assert.equal(metadata.client_id_metadata_document_supported, true);
  return metadata;
}

/** The client's id, and its secret when it asked for one. */
async function identify(broker: TestBroker, row: ClientRow, host: DocumentHost): Promise<Json> {
  if ('document' in row) return { client_id: row.document };
  if ('published' in row) {
    const id = `${host.url}/oauth/abc/client.json`;
    const jwksUri = host.serve('/oauth/jwks.json', {
      keys: [{ ...(await exportJWK(RS256.publicKey)), kid: 'k1', alg: 'RS256' }],
    });
    host.serve('/oauth/abc/client.json', { client_id: id, jwks_uri: jwksUri, ...row.published });
    return { client_id: id };
  }
  let registered: Json = {};
  for (let count = 0; count < (row.registrations ?? 1); count += 1) {
    const answer = await ask(
      `${broker.url}${row.registerAt ?? '/oauth/register'}`,
      'POST',
      { 'Content-Type': 'application/json', Accept: 'application/json' },
      JSON.stringify(row.register),
    );
    assert.equal(answer.status, 201, answer.body);
    assert.doesNotMatch(answer.body, /null/);
    registered = parse(answer.body);
    const method: string = row.register.token_endpoint_auth_method ?? 'client_secret_basic';
    assert.equal(registered.token_endpoint_auth_method, method);
    assert.deepEqual(registered.redirect_uris, row.register.redirect_uris);
    assert.equal('client_secret' in registered, method !== 'none');
    if (method !== 'none') assert.equal(registered.client_secret_expires_at, 0);
  }
  return registered;
}

async function tokenRequest(broker: TestBroker, row: ClientRow, client: Json, form: [string, string][]) {
  const id = String(client.client_id);
  const secret = String(client.client_secret);
  const headers: Record<string, string> = { 'Content-Type': 'application/x-www-form-urlencoded' };
  const body = new URLSearchParams(form);
  if (row.auth === 'basic') {
    headers.Authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
  } else {
    body.set('client_id', id);
  }
  if (row.auth === 'post') body.set('client_secret', secret);
  if (row.auth === 'private_key_jwt') {
    const assertion = await new SignJWT({ jti: randomBytes(16).toString('hex') })
      .setProtectedHeader({ alg: 'RS256', kid: 'k1' })
      .setIssuer(id)
      .setSubject(id)
      .setAudience(`${broker.url}/oauth/token`)
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(RS256.privateKey);
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
    body.set('client_assertion', assertion);
  }
  const answer = await ask(`${broker.url}${row.tokenAt ?? '/oauth/token'}`, 'POST', headers, body.toString());
  assert.equal(answer.status, 200, answer.body);
  const tokens = parse(answer.body);
  assert.equal(tokens.token_type, 'Bearer');
  assert.ok(Number(tokens.expires_in) >= 3600);
  assert.ok(tokens.access_token && tokens.refresh_token && tokens.scope, 'token, refresh token and scope');
  return tokens;
}

/** The documents of one host are served; every other name fails, as it does where a well-known host refuses us. */
function networkOf(host: DocumentHost): PublicNetwork {
  return {
    ...host.network,
    lookup: (name, options, callback) =>
      (name === 'documents.test' ? host.network : NO_NETWORK).lookup(name, options, callback),
  };
}

describe('signs in, redeems, calls and refreshes:', () => {
  for (const row of CLIENT_ROWS) {
    test(row.name, async () => {
      await using host = await startDocumentHost();
      await using broker = await startTestBroker({
        network: networkOf(host),
        env: { BROKER_DATABASE: ':memory:' },
      });
      await walkDiscovery(broker, row.discovery);
      const client = await identify(broker, row, host);

      const verifier = randomBytes(row.verifierBytes ?? 32).toString('base64url');
      const url = new URL(`${broker.url}${row.authorizeAt ?? '/oauth/authorize'}`);
      const resources = (row.resource ?? ['/mcp']).map((path): [string, string] => [
        'resource',
        broker.url + path,
      ]);
      const state: [string, string][] = row.stateless ? [] : [['state', randomBytes(12).toString('hex')]];
      for (const [name, value] of [
        ['response_type', 'code'],
        ['client_id', String(client.client_id)],
        ['redirect_uri', row.redirectUri],
        ['code_challenge', createHash('sha256').update(verifier).digest('base64url')],
        ['code_challenge_method', 'S256'],
        ...state,
        ...(row.scope === undefined ? [] : [['scope', row.scope] as const]),
        ...(row.prompt === undefined ? [] : [['prompt', row.prompt] as const]),
        ...resources,
      ] as const)
        url.searchParams.append(name, value);
      const answer = await signIn(new Browser(), url, broker.person('alice'));
      assert.ok(answer.href.startsWith(row.redirectUri), answer.href);
      assert.equal(answer.searchParams.get('iss'), broker.url);
      assert.equal(answer.searchParams.get('state'), state[0]?.[1] ?? null);

      const first = await tokenRequest(broker, row, client, [
        ['grant_type', 'authorization_code'],
        ['code', answer.searchParams.get('code') ?? ''],
        ['code_verifier', verifier],
        ['redirect_uri', row.redirectUri],
        ...resources,
      ]);
      assert.equal(first.scope, row.granted ?? 'mcp offline_access');
      const second = await tokenRequest(broker, row, client, [
        ['grant_type', 'refresh_token'],
        ['refresh_token', String(first.refresh_token)],
        ...(row.refreshScope === undefined ? [] : [['scope', row.refreshScope] as [string, string]]),
        ...resources,
      ]);
      for (const { access_token } of [first, second]) {
        const { status } = await ask(broker.mcpUrl, 'HEAD', { Authorization: `Bearer ${access_token}` });
        assert.notEqual(status, 401);
      }
    });
  }
});

describe('is told plainly that it cannot be served:', () => {
  test('Open WebUI on plain http in the LAN: a code would cross the network in the clear', async () => {
    await using broker = await startTestBroker({ env: { BROKER_DATABASE: ':memory:' } });
    const { status, body } = await ask(
      `${broker.url}/oauth/register`,
      'POST',
      {},
      JSON.stringify({
        client_name: 'Open WebUI',
        redirect_uris: ['http://192.168.1.20:3000/oauth/clients/mcp:forgejo/callback'],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        scope: 'mcp offline_access',
      }),
    );
    assert.equal(status, 400);
    assert.deepEqual(parse(body), {
      error: 'invalid_redirect_uri',
      error_description: 'A redirect URI is refused: plain http is for loopback addresses only.',
    });
  });
});
