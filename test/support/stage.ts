/** A broker with one honest client and one honest user, and the requests that an attack on them is made of. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { startTestBroker, type TestBroker, type TestBrokerOptions } from './broker.js';
import { Browser, loginFields, type Page, signIn } from './browser.js';
import { NOWHERE, type RegisteredClient } from './oauth-client.js';

export const VERIFIER = 'the-verifier-of-every-request-on-this-stage-0123456789';
export const CHALLENGE = createHash('sha256').update(VERIFIER).digest('base64url');

export type Fields = Readonly<Record<string, string>>;

/** With the secret as registration gave it; how it is shown is what an attack varies. */
export interface Client extends Omit<RegisteredClient, 'secret'> {
  readonly secret: string | undefined;
}

export interface JsonAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface Stage extends AsyncDisposable {
  readonly broker: TestBroker;
  /** Public, and at home on the user's computer. */
  readonly client: Client;
  register(metadata: object): Promise<Client>;
  authorizationUrl(client?: Omit<RegisteredClient, 'secret'>, more?: Fields): string;
  /** Alice signs in; the redirect to the client. */
  signIn(url?: string, browser?: Browser): Promise<URL>;
  /** From the consent of the broker through the login of `login` to the consent page of Forgejo. */
  openGrantPage(browser: Browser, login?: string): Promise<Page>;
  code(): Promise<string>;
  post(
    path: string,
    form: Fields | readonly (readonly [string, string])[],
    headers?: Fields,
  ): Promise<JsonAnswer>;
  /** The code for a token; an empty value leaves a parameter out. */
  redeem(code: string, more?: Fields): Promise<JsonAnswer>;
  refresh(token: unknown, more?: Fields): Promise<JsonAnswer>;
  /** The status of a request that needs nothing but a good token. */
  statusWith(token: unknown): Promise<number>;
}

export async function setStage(options: TestBrokerOptions = {}): Promise<Stage> {
  // In memory: these tests ask what is decided, not what survives.
  const env = { BROKER_DATABASE: ':memory:', ...options.env };
  const broker = await startTestBroker({ ...options, env });
  const register = async (metadata: object): Promise<Client> => {
    const response = await fetch(`${broker.url}/oauth/register`, {
      method: 'POST',
      body: JSON.stringify({ redirect_uris: [NOWHERE], token_endpoint_auth_method: 'none', ...metadata }),
    });
    const text = await response.text();
    assert.equal(response.status, 201, text);
    const body = JSON.parse(text) as { client_id: string; client_secret?: string; redirect_uris: string[] };
    return {
      clientId: body.client_id,
      secret: body.client_secret,
      redirectUri: body.redirect_uris[0] ?? '',
    };
  };
  const client = await register({ client_name: 'Honest' });
  const authorizationUrl = (of: Omit<RegisteredClient, 'secret'> = client, more: Fields = {}) => {
    const query = {
      response_type: 'code',
      client_id: of.clientId,
      redirect_uri: of.redirectUri,
      code_challenge: CHALLENGE,
      code_challenge_method: 'S256',
      state: 'the state',
      ...more,
    };
    return `${broker.url}/oauth/authorize?${new URLSearchParams(withoutEmpty(query))}`;
  };
  const signInAlice = (url = authorizationUrl(), browser = new Browser()) =>
    signIn(browser, url, broker.person('alice'));
  const post: Stage['post'] = async (path, form, headers = {}) => {
    const pairs = Array.isArray(form) ? [...form] : Object.entries(form);
    const response = await fetch(broker.url + path, {
      method: 'POST',
      body: new URLSearchParams(pairs.map(([name, value]): [string, string] => [name, value])),
      headers,
    });
    return { status: response.status, headers: response.headers, body: (await response.json()) as Fields };
  };
  return {
    broker,
    client,
    register,
    authorizationUrl,
    signIn: signInAlice,
    post,
    async openGrantPage(browser, login = 'alice') {
      const consent = await browser.open(authorizationUrl());
      const page = await browser.submit(consent, { button: 'continue' });
      return browser.submit(page, { fields: loginFields(broker.person(login)) });
    },
    code: async () => (await signInAlice()).searchParams.get('code') ?? '',
    redeem: (code, more = {}) =>
      post(
        '/oauth/token',
        withoutEmpty({
          grant_type: 'authorization_code',
          code,
          client_id: client.clientId,
          code_verifier: VERIFIER,
          redirect_uri: client.redirectUri,
          ...more,
        }),
      ),
    refresh: (token, more = {}) =>
      post('/oauth/token', {
        grant_type: 'refresh_token',
        refresh_token: String(token),
        client_id: client.clientId,
        ...more,
      }),
    async statusWith(token) {
      const headers = { Authorization: `Bearer ${String(token)}` };
      return (await fetch(broker.mcpUrl, { method: 'HEAD', headers })).status;
    },
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

function withoutEmpty(fields: Fields): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''));
}

/** Stops a scripted browser before it would leave for a client. */
export const atClient = { stopAt: (url: URL) => url.searchParams.has('iss') };
/** Stops it before it brings Forgejo's answer. */
export const atCallback = { stopAt: (url: URL) => url.pathname === '/oauth/callback' };
