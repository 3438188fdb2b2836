/** Short hands for the wire tests: one instance with one application, and requests to it that give status and body. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type {
  ForgejoOptions,
  NewApplication,
  StandInForgejo,
  StandInUser,
} from '../../src/demo/forgejo/forgejo.js';
import { Browser, type Fields, loginFields, type Page, signIn } from '../support/browser.js';
import { startForgejo } from '../support/forgejo.js';

export const redirectUri = 'https://broker.test/oauth/callback';
export const verifier = 'v'.repeat(43);
export const challenge = createHash('sha256').update(verifier).digest('base64url');
export const START = Date.parse('2026-07-01T12:00:00Z');

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export interface Pair {
  readonly access_token: string;
  readonly refresh_token: string;
  readonly expires_in: number;
  readonly id_token?: string;
}

export class Wire {
  readonly forgejo: StandInForgejo;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly #clock: { now: number };

  constructor(forgejo: StandInForgejo, application: NewApplication, clock: { now: number }) {
    this.forgejo = forgejo;
    this.#clock = clock;
    const { clientId, clientSecret } = forgejo.createApplication(application);
    this.clientId = clientId;
    this.clientSecret = clientSecret;
  }

  passSeconds(seconds: number): void {
    this.#clock.now += seconds * 1000;
  }

  user(login: string): StandInUser {
    const user = this.forgejo.users.find((candidate) => candidate.login === login);
    assert.ok(user !== undefined);
    return user;
  }

  async signedIn(login = 'alice'): Promise<Browser> {
    const browser = new Browser();
    const page = await browser.open(`${this.forgejo.url}/user/login`);
    await browser.submit(page, { fields: loginFields(this.user(login)) });
    return browser;
  }

  /** A well-formed authorization of this application; a field set to '' is left out. */
  authorizeUrl(changed: Fields = {}): URL {
    const url = new URL(`${this.forgejo.url}/login/oauth/authorize`);
    const fields = {
      client_id: this.clientId,
      redirect_uri: redirectUri,
      response_type: 'code',
      state: 'st',
      scope: 'read:user',
      code_challenge: challenge,
      code_challenge_method: 'S256',
      ...changed,
    };
    for (const [name, value] of Object.entries(fields)) if (value !== '') url.searchParams.set(name, value);
    return url;
  }

  async code(login = 'alice', changed: Fields = {}): Promise<string> {
    const back = await signIn(new Browser(), this.authorizeUrl(changed), this.user(login));
    return back.searchParams.get('code') ?? assert.fail(back.href);
  }

  /** POSTs a code exchange as this application, with `changed` fields; a field set to '' is left out. */
  async redeem(code: string, changed: Fields = {}, headers: Fields = {}): Promise<Answer> {
    const fields = { code, redirect_uri: redirectUri, code_verifier: verifier, ...changed };
    return await this.token({ grant_type: 'authorization_code', ...fields }, headers);
  }

  async refresh(refreshToken: string, changed: Fields = {}): Promise<Answer> {
    return await this.token({ grant_type: 'refresh_token', refresh_token: refreshToken, ...changed });
  }

  async token(changed: Fields, headers: Fields = {}): Promise<Answer> {
    const fields = { client_id: this.clientId, client_secret: this.clientSecret, ...changed };
    const sent = Object.entries(fields).filter(([, value]) => value !== '');
    return await this.#send('/login/oauth/access_token', {
      method: 'POST',
      body: new URLSearchParams(sent),
      headers,
    });
  }

  async tokens(login = 'alice', changed: Fields = {}): Promise<Pair> {
    return pairOf(await this.redeem(await this.code(login, changed)));
  }

  async api(path: string, token?: string, init: RequestInit = {}): Promise<Answer> {
    const authorization: Fields = token === undefined ? {} : { authorization: `token ${token}` };
    return await this.#send(`/api/v1${path}`, { ...init, headers: { ...authorization, ...init.headers } });
  }

  async web(path: string, init: RequestInit = {}): Promise<Answer> {
    return await this.#send(path, init);
  }

  async introspect(token: string): Promise<Answer> {
    const headers = { authorization: basic(this.clientId, this.clientSecret) };
    const body = new URLSearchParams({ token });
    return await this.#send('/login/oauth/introspect', { method: 'POST', headers, body });
  }

  async #send(path: string, init: RequestInit): Promise<Answer> {
    const response = await fetch(this.forgejo.url + path, { ...init, redirect: 'manual' });
    return { status: response.status, headers: response.headers, text: await response.text() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.forgejo.close();
  }
}

export async function startWire(
  options: ForgejoOptions = {},
  application: Partial<NewApplication> = {},
): Promise<Wire> {
  const clock = { now: START };
  const forgejo = await startForgejo({ now: () => clock.now, ...options });
  return new Wire(forgejo, { name: 'broker', redirectUris: [redirectUri], ...application }, clock);
}

/** Where a page redirects to. */
export function locationOf({ url, status, location }: Page): URL {
  assert.ok(location, `${status} ${url} redirects nowhere`);
  return location;
}

/** The first form of a page, ready to be edited and posted: where it goes and what it sends. */
export function formOf({ url, body, forms: [form] }: Page): {
  readonly action: string;
  readonly fields: Fields;
} {
  assert.ok(form, `no form on ${url}: ${body}`);
  return { action: new URL(form.action, url).href, fields: Object.fromEntries(form.fields) };
}

export function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
}

export function pairOf(answer: Answer): Pair {
  assert.equal(answer.status, 200, answer.text);
  return JSON.parse(answer.text);
}

/** The claims of a JWT, unverified. */
export function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
}

/** A token endpoint refusal: always 400, always exactly these two members. */
export function assertRefused(answer: Answer, error: string, description: string): void {
  assert.deepEqual(
    [answer.status, JSON.parse(answer.text)],
    [400, { error, error_description: description }],
  );
  assert.equal(answer.headers.get('www-authenticate'), null);
}
