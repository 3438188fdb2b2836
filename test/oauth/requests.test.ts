/** Tables over the pure decisions: parameters, scopes, resources, PKCE, authorization requests, registrations. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { isRefusal, parseAuthorizationRequest, responseUrl } from '../../src/oauth/authorization.js';
import {
  type Client,
  parseClientCredentials,
  registerClient,
  registrationResponse,
} from '../../src/oauth/clients.js';
import { isFault, type OAuthFault, toWire } from '../../src/oauth/fault.js';
import { authorizationServerMetadata, protectedResourceMetadata } from '../../src/oauth/metadata.js';
import { type Parameters, parseParameters } from '../../src/oauth/parameters.js';
import { verifierMatches } from '../../src/oauth/pkce.js';
import { coversResource, resolveResource } from '../../src/oauth/resources.js';
import { grantedScope } from '../../src/oauth/scopes.js';

const ORIGIN = 'https://mcp.example.org';
const resources = { origin: ORIGIN, endpoints: [`${ORIGIN}/mcp`, `${ORIGIN}/mcp/forgejo`] };

function parameters(text: string): Parameters {
  const parsed = parseParameters(new URLSearchParams(text));
  assert.ok(!isFault(parsed));
  return parsed;
}

test('a repeated parameter is refused, except resource (RFC 6749 §3.1, RFC 8707 §2)', () => {
  assert.equal(
    (parseParameters(new URLSearchParams('state=a&state=b')) as OAuthFault).reason,
    'parameter_repeated',
  );
  assert.deepEqual(parameters('resource=a&resource=a').resources, ['a', 'a']);
});

test('a parameter without a value counts as absent (RFC 6749 §3.1)', () => {
  assert.equal(parameters('scope=&state=x').get('scope'), undefined);
});

test('unknown scopes are dropped and mcp is always granted', () => {
  assert.equal(grantedScope(undefined), 'mcp');
  assert.equal(grantedScope('openid email profile'), 'mcp');
  assert.equal(grantedScope('mcp offline_access'), 'mcp offline_access');
});

const RESOURCES: readonly (readonly [asked: string[], canonical: string | undefined])[] = [
  [[], ORIGIN],
  [[ORIGIN], ORIGIN],
  [[`${ORIGIN}/`], ORIGIN],
  [[`${ORIGIN}/mcp`], `${ORIGIN}/mcp`],
  [[`${ORIGIN}/mcp/`], `${ORIGIN}/mcp`],
  [['https://MCP.Example.org:443/mcp'], `${ORIGIN}/mcp`],
  [[`${ORIGIN}/mcp`, `${ORIGIN}/mcp/`], `${ORIGIN}/mcp`],
  [[`${ORIGIN}/mcp`, `${ORIGIN}/mcp/forgejo`], undefined],
  [[`${ORIGIN}/other`], undefined],
  [['https://evil.example/mcp'], undefined],
  [['mcp'], undefined],
  [[`${ORIGIN}/mcp?x=1`], undefined],
];
for (const [asked, canonical] of RESOURCES) {
  test(`resource ${JSON.stringify(asked)} is ${canonical ?? 'refused'}`, () => {
    const resolved = resolveResource(asked, resources);
    assert.equal(typeof resolved === 'string' ? resolved : undefined, canonical);
  });
}

test('a grant for one endpoint is no good at another, a grant for the origin is good at all', () => {
  assert.equal(coversResource(`${ORIGIN}/mcp`, `${ORIGIN}/mcp/forgejo`, resources), false);
  assert.equal(coversResource(`${ORIGIN}/mcp`, `${ORIGIN}/mcp`, resources), true);
  assert.equal(coversResource(ORIGIN, `${ORIGIN}/mcp/forgejo`, resources), true);
});

test('a verifier matches only the challenge made from it (RFC 7636 appendix B)', () => {
  const verifier = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';
  const challenge = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';
  assert.equal(verifierMatches(verifier, challenge), true);
  assert.equal(verifierMatches(`${verifier}x`, challenge), false);
  assert.equal(verifierMatches(challenge, challenge), false);
  const short = 'short';
  assert.equal(verifierMatches(short, createHash('sha256').update(short).digest('base64url')), false);
});

function registered(body: object): { client: Client; secret: string | undefined } {
  const registration = registerClient(body, 1_000, randomBytes);
  assert.ok(!isFault(registration), JSON.stringify(registration));
  return registration;
}

const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';
const CALLBACK = 'http://localhost:7777/callback';
const { client } = registered({
  redirect_uris: ['http://localhost/callback'],
  token_endpoint_auth_method: 'none',
});
const GOOD = `response_type=code&redirect_uri=${encodeURIComponent(CALLBACK)}&code_challenge=${CHALLENGE}&code_challenge_method=S256&state=s1`;

test('a good authorization request keeps the redirect URI as asked', () => {
  const request = parseAuthorizationRequest(
    parameters(`${GOOD}&prompt=consent&nonce=x&unknown=1`),
    client,
    resources,
  );
  assert.ok(!isRefusal(request));
  assert.equal(request.redirectUri, CALLBACK);
  assert.equal(request.resource, ORIGIN);
});

test('an unknown client or redirect URI is shown, never redirected (RFC 6749 §4.1.2.1)', () => {
  const evil = GOOD.replace(encodeURIComponent(CALLBACK), encodeURIComponent('https://evil.example/cb'));
  assert.deepEqual(parseAuthorizationRequest(parameters(GOOD), undefined, resources), {
    refuse: 'show',
    reason: 'client_unknown',
  });
  assert.deepEqual(parseAuthorizationRequest(parameters(evil), client, resources), {
    refuse: 'show',
    reason: 'redirect_uri_unregistered',
  });
});

const REFUSED: readonly (readonly [what: string, query: string, error: string])[] = [
  ['another response type', GOOD.replace('=code&', '=token&'), 'unsupported_response_type'],
  ['no PKCE', GOOD.replace(/&code_challenge=[^&]+/, ''), 'invalid_request'],
  ['plain PKCE', GOOD.replace('S256', 'plain'), 'invalid_request'],
  ['PKCE without a method', GOOD.replace('&code_challenge_method=S256', ''), 'invalid_request'],
  ['a challenge of another length', GOOD.replace(CHALLENGE, 'abc'), 'invalid_request'],
  ['a foreign resource', `${GOOD}&resource=https://evil.example/mcp`, 'invalid_target'],
  ['a request object', `${GOOD}&request=abc`, 'request_not_supported'],
];
for (const [what, query, error] of REFUSED) {
  test(`${what} is redirected as ${error}`, () => {
    const refusal = parseAuthorizationRequest(parameters(query), client, resources);
    assert.ok(isRefusal(refusal) && refusal.refuse === 'redirect');
    assert.equal(refusal.error, error);
    assert.deepEqual(refusal.target, { redirectUri: CALLBACK, state: 's1' });
  });
}

test('every authorization response has iss and the state it was asked with (RFC 9207 §2)', () => {
  const target = { redirectUri: 'https://client.example/cb?keep=%20this', state: 'a b&c' };
  assert.equal(
    responseUrl(target, ORIGIN, { code: 'fjc_1' }),
    'https://client.example/cb?keep=%20this&code=fjc_1&state=a+b%26c&iss=https%3A%2F%2Fmcp.example.org',
  );
  const refusal = new URL(
    responseUrl({ ...target, state: undefined }, ORIGIN, { error: 'access_denied', description: 'no' }),
  );
  assert.equal(refusal.searchParams.get('iss'), ORIGIN);
  assert.equal(refusal.searchParams.has('state'), false);
});

test('a public client gets no secret, a client that asks for one or for nothing gets one', () => {
  const uris = { redirect_uris: ['https://client.example/cb'] };
  assert.equal(registered({ ...uris, token_endpoint_auth_method: 'none' }).secret, undefined);
  assert.ok(registered({ ...uris, token_endpoint_auth_method: 'client_secret_post' }).secret);
  assert.equal(registered(uris).client.authMethod, 'client_secret_basic');
});

test('a registration response holds no null and repeats what was registered', () => {
  const body = registrationResponse(
    registered({
      redirect_uris: ['https://insiders.vscode.dev/redirect', 'http://127.0.0.1:33418/'],
      client_name: 'Visual Studio Code',
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      software_id: '2e6dc280',
      contacts: null,
    }),
  );
  assert.equal(JSON.stringify(body).includes('null'), false);
  assert.deepEqual(body.redirect_uris, ['https://insiders.vscode.dev/redirect', 'http://127.0.0.1:33418/']);
  assert.deepEqual(body.grant_types, ['authorization_code', 'refresh_token']);
  assert.equal('client_secret' in body, false);
});

test('a name that is too long is cut, by whole characters, and the client is registered all the same', () => {
  const named = (client_name: string) =>
    registrationResponse(registered({ redirect_uris: ['https://client.example/cb'], client_name }))
      .client_name;
  assert.equal(named('😀'.repeat(201)), '😀'.repeat(200));
  assert.equal(named(`${'x'.repeat(199)} y`), 'x'.repeat(199));
  assert.equal(named('\n\u202e'), 'an application without a name');
});

for (const body of [
  undefined,
  [],
  {},
  { redirect_uris: [] },
  { redirect_uris: ['https://a/b'], grant_types: ['password'] },
  { redirect_uris: Array.from({ length: 21 }, (_, index) => `https://a/${index}`) },
]) {
  test(`the registration ${String(JSON.stringify(body)).slice(0, 60)} is refused as invalid metadata`, () => {
    const refused = registerClient(body, 0, randomBytes);
    assert.ok(isFault(refused));
    assert.equal(toWire(refused).code, 'invalid_client_metadata');
  });
}

test('a client has twenty redirect URIs at most, of 4 KiB together', () => {
  const uris = (count: number, length: number) => ({
    redirect_uris: Array.from({ length: count }, (_, index) =>
      `https://client.example/${index}/`.padEnd(length, 'x'),
    ),
  });
  assert.equal(registered(uris(20, 204)).client.redirectUris.length, 20);
  assert.equal(registered(uris(4, 1024)).client.redirectUris.length, 4);
  const refused = registerClient(uris(4, 1025), 0, randomBytes);
  assert.ok(isFault(refused));
  assert.equal(toWire(refused).code, 'invalid_redirect_uri');
});

test('Basic credentials are read with and without percent-encoding, and never mixed with a body secret', () => {
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
  assert.deepEqual(parseClientCredentials(parameters(''), basic('cl_1:fjs_a-b_c')), {
    id: 'cl_1',
    proof: { by: 'secret', secret: 'fjs_a-b_c' },
  });
  assert.deepEqual(parseClientCredentials(parameters(''), basic('cl%5F1:x')), {
    id: 'cl_1',
    proof: { by: 'secret', secret: 'x' },
  });
  const mixed = parseClientCredentials(parameters('client_id=cl_1&client_secret=y'), basic('cl_1:x'));
  assert.equal((mixed as OAuthFault).reason, 'request_malformed');
});

test('discovery documents name one issuer, S256, none, and no OpenID', () => {
  const metadata = authorizationServerMetadata(ORIGIN, { documents: true, advertiseIss: true });
  assert.equal(metadata.issuer, ORIGIN);
  assert.deepEqual(metadata.code_challenge_methods_supported, ['S256']);
  assert.ok((metadata.token_endpoint_auth_methods_supported as string[]).includes('none'));
  assert.ok((metadata.scopes_supported as string[]).includes('offline_access'));
  const resource = protectedResourceMetadata(`${ORIGIN}/mcp`, ORIGIN);
  assert.deepEqual(resource.authorization_servers, [ORIGIN]);
  assert.deepEqual(resource.scopes_supported, ['mcp']);
});

test('iss is sent whether it is advertised or not, and advertised unless the operator says no (RFC 9207 §2.3)', () => {
  const advertised = (advertiseIss: boolean) =>
    authorizationServerMetadata(ORIGIN, { documents: true, advertiseIss })
      .authorization_response_iss_parameter_supported;
  assert.equal(advertised(true), true);
  assert.equal(advertised(false), undefined);
  const url = responseUrl({ redirectUri: CALLBACK, state: undefined }, ORIGIN, { code: 'c' });
  assert.equal(new URL(url).searchParams.get('iss'), ORIGIN);
});
