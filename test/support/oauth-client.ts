/**
 * An OAuth client written from the RFCs and nothing else: no SDK judges the broker here but these few lines.
 * Challenge, RFC 9728, RFC 8414, RFC 7591, PKCE, RFC 9207, refresh. Every deviation is an assertion.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { Browser, type Person, signIn } from './browser.js';

const ProtectedResource = z.looseObject({
  resource: z.string(),
  authorization_servers: z.array(z.string()).min(1),
  scopes_supported: z.array(z.string()).optional(),
});

const AuthorizationServer = z.looseObject({
  issuer: z.string(),
  authorization_endpoint: z.string(),
  token_endpoint: z.string(),
  registration_endpoint: z.string(),
  revocation_endpoint: z.string().optional(),
});

const Registration = z.looseObject({ client_id: z.string(), client_secret: z.string().optional() });

const TokenAnswer = z.looseObject({
  access_token: z.string(),
  token_type: z.string(),
  expires_in: z.number().optional(),
  refresh_token: z.string().optional(),
  scope: z.string().optional(),
});

export type Tokens = z.infer<typeof TokenAnswer>;

export interface Discovery {
  readonly resource: z.infer<typeof ProtectedResource>;
  readonly server: z.infer<typeof AuthorizationServer>;
  readonly scope: string | undefined;
}

export interface RegisteredClient {
  readonly clientId: string;
  readonly redirectUri: string;
  /** Of a confidential client, and how it is shown at the token endpoint. */
  readonly secret?: { readonly text: string; readonly by: 'client_secret_basic' | 'client_secret_post' };
}

/** A client nobody listens for: the scripted browser stops before it would connect. */
export const NOWHERE = 'http://127.0.0.1:1/callback';

/** From a bare MCP URL to the metadata of resource and authorization server, by way of the 401 challenge. */
export async function discover(mcpUrl: string): Promise<Discovery> {
  const refusal = await fetch(mcpUrl, { method: 'POST', body: '{}' });
  await refusal.body?.cancel();
  assert.equal(refusal.status, 401, 'a request without token is challenged');
  const challenge = refusal.headers.get('www-authenticate') ?? '';
  const pointer = /resource_metadata="([^"]+)"/.exec(challenge)?.[1];
  assert.ok(pointer, `the challenge names the metadata: ${challenge}`);

  const resource = ProtectedResource.parse(await getJson(pointer));
  assert.equal(resource.resource, mcpUrl);
  const issuer = resource.authorization_servers[0] ?? '';
  const server = AuthorizationServer.parse(await getJson(wellKnown(issuer)));
  assert.equal(server.issuer, issuer);
  const scope = /\bscope="([^"]+)"/.exec(challenge)?.[1] ?? resource.scopes_supported?.join(' ');
  return { resource, server, scope };
}

export async function register({ server }: Discovery, redirectUri = NOWHERE): Promise<RegisteredClient> {
  const response = await fetch(server.registration_endpoint, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({
      client_name: 'Referee',
      redirect_uris: [redirectUri],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    }),
  });
  assert.equal(response.status, 201);
  return { clientId: Registration.parse(await response.json()).client_id, redirectUri };
}

/** Signs `person` in through the browser and redeems the code. */
export async function authorize(
  { server, resource, scope }: Discovery,
  client: RegisteredClient,
  person: Person,
  browser = new Browser(),
  /** Sees the token request, to send it again. */
  onRedeem: (form: URLSearchParams) => void = () => undefined,
): Promise<Tokens> {
  const { clientId, redirectUri } = client;
  const verifier = randomBytes(32).toString('base64url');
  const state = randomBytes(16).toString('base64url');
  const url = new URL(server.authorization_endpoint);
  const query = {
    response_type: 'code',
    client_id: clientId,
    redirect_uri: redirectUri,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    state,
    resource: resource.resource,
    ...(scope === undefined ? {} : { scope }),
  };
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);

  const { searchParams: answer } = await signIn(browser, url, person);
  assert.equal(answer.get('error'), null, `refused: ${answer.get('error_description')}`);
  assert.equal(answer.get('state'), state);
  assert.equal(answer.get('iss'), server.issuer);
  const form = {
    grant_type: 'authorization_code',
    code: answer.get('code') ?? '',
    redirect_uri: redirectUri,
    code_verifier: verifier,
    resource: resource.resource,
  };
  onRedeem(new URLSearchParams({ ...form, client_id: clientId }));
  return redeem(server.token_endpoint, client, form);
}

export function refresh(
  { server, resource }: Discovery,
  client: RegisteredClient,
  refreshToken: string,
): Promise<Tokens> {
  return redeem(server.token_endpoint, client, {
    grant_type: 'refresh_token',
    refresh_token: refreshToken,
    resource: resource.resource,
  });
}

/** The whole way in one call: an access token for `person`. */
export async function obtainTokens(mcpUrl: string, person: Person): Promise<Tokens> {
  const discovery = await discover(mcpUrl);
  return authorize(discovery, await register(discovery), person);
}

async function redeem(
  endpoint: string,
  client: RegisteredClient,
  form: Readonly<Record<string, string>>,
): Promise<Tokens> {
  const response = await fetch(endpoint, { method: 'POST', ...authenticated(client, form) });
  const text = await response.text();
  assert.equal(response.status, 200, `${form.grant_type}: ${text}`);
  assert.match(response.headers.get('cache-control') ?? '', /no-store/);
  const tokens = TokenAnswer.parse(JSON.parse(text));
  assert.equal(tokens.token_type.toLowerCase(), 'bearer');
  return tokens;
}

/** RFC 6749 §2.3.1: by HTTP Basic, or in the body; a public client names itself there and proves nothing. */
export function authenticated(
  { clientId, secret }: RegisteredClient,
  form: Readonly<Record<string, string>>,
): { readonly headers: Record<string, string>; readonly body: URLSearchParams } {
  if (secret?.by === 'client_secret_basic') {
    const pair = [clientId, secret.text].map(encodeURIComponent).join(':');
    const Authorization = `Basic ${Buffer.from(pair).toString('base64')}`;
    return { headers: { Authorization }, body: new URLSearchParams(form) };
  }
  const named = { ...form, client_id: clientId };
  const body = new URLSearchParams(secret === undefined ? named : { ...named, client_secret: secret.text });
  return { headers: {}, body };
}

async function getJson(url: string): Promise<unknown> {
  const response = await fetch(url, { headers: { Accept: 'application/json' }, redirect: 'error' });
  assert.equal(response.status, 200, `GET ${url}`);
  return response.json();
}

/** RFC 8414 §3.1: the well-known part goes between host and path of the issuer. */
function wellKnown(issuer: string): string {
  const { origin, pathname } = new URL(issuer);
  return `${origin}/.well-known/oauth-authorization-server${pathname === '/' ? '' : pathname}`;
}
