/** A broker, a Chromium and an application on this computer: what the tests of the pages act with. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Stage, startStage } from '../support/connection.js';
import { type Chromium, type Context, launchChromium, type Page } from './chromium.js';

export const CONTINUE = 'button[value=continue]';
export const CANCEL = 'button[value=cancel]';
const VERIFIER = randomBytes(32).toString('base64url');

export interface Window {
  readonly context: Context;
  readonly page: Page;
  /** What the console said against the policies of pages. */
  readonly violations: readonly string[];
}

/** An application that listens on this computer, under another host name than the broker's. */
async function startClient() {
  const answers: URLSearchParams[] = [];
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
    if (pathname === '/callback') answers.push(searchParams);
    response
      .setHeader('Content-Type', 'text/html')
      .end('<title>Connected</title><p>You may close this page.');
  });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  const redirectUri = `http://localhost:${(server.address() as AddressInfo).port}/callback`;
  return {
    answers,
    redirectUri,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

export async function startConsentStage(playwright: string): Promise<ConsentStage> {
  const stage = await startStage({ env: { BROKER_OPERATOR: 'the gardeners of example.org' } });
  return new ConsentStage(stage, await launchChromium(playwright), await startClient());
}

export class ConsentStage implements AsyncDisposable {
  readonly stage: Stage;
  readonly #chromium: Chromium;
  readonly #client: Awaited<ReturnType<typeof startClient>>;

  constructor(stage: Stage, chromium: Chromium, client: Awaited<ReturnType<typeof startClient>>) {
    this.stage = stage;
    this.#chromium = chromium;
    this.#client = client;
  }

  get redirectUri(): string {
    return this.#client.redirectUri;
  }

  /** What the application was told, oldest first. */
  get answers(): readonly URLSearchParams[] {
    return this.#client.answers;
  }

  readonly isClient = (url: URL): boolean => url.href.startsWith(this.redirectUri);

  async register(name: string, redirectUri: string): Promise<string> {
    const metadata = { client_name: name, redirect_uris: [redirectUri], token_endpoint_auth_method: 'none' };
    const response = await fetch(`${this.stage.broker.url}/oauth/register`, {
      method: 'POST',
      body: JSON.stringify(metadata),
    });
    return ((await response.json()) as { client_id: string }).client_id;
  }

  authorizationUrl(clientId: string, redirectUri: string, state = 'the state'): string {
    const query = new URLSearchParams({
      response_type: 'code',
      client_id: clientId,
      redirect_uri: redirectUri,
      code_challenge: createHash('sha256').update(VERIFIER).digest('base64url'),
      code_challenge_method: 'S256',
      state,
    });
    return `${this.stage.broker.url}/oauth/authorize?${query}`;
  }

  /** The authorization request of a new registration of the application on this computer. */
  async localUrl(state?: string): Promise<string> {
    return this.authorizationUrl(
      await this.register('Claude Code', this.redirectUri),
      this.redirectUri,
      state,
    );
  }

  async openWindow(): Promise<Window> {
    const context = await this.#chromium.newContext();
    const page = await context.newPage();
    const violations: string[] = [];
    page.on('console', (message) => {
      if (/Content Security Policy|Refused to/.test(message.text())) violations.push(message.text());
    });
    return { context, page, violations };
  }

  /** Types alice's password at Forgejo, and allows the broker there if it asks. */
  async signInAtForgejo(page: Page): Promise<void> {
    const { login, password } = this.stage.broker.person('alice');
    await page.locator('input[name=user_name]').fill(login);
    await page.locator('input[name=password]').fill(password);
    await page.locator('form:has(input[name=password]) button').click();
    await page.waitForLoadState();
    const grant = page.locator('button[name=granted][value=true]');
    if ((await grant.count()) > 0) await grant.click();
  }

  /** A window in which Forgejo knows alice and has her consent, so that it answers silently. */
  async openSignedInWindow(): Promise<Window> {
    const window = await this.openWindow();
    await window.page.goto(await this.localUrl());
    await window.page.locator(CONTINUE).click();
    await this.signInAtForgejo(window.page);
    await window.page.waitForURL(this.isClient);
    return window;
  }

  /** The status of the token endpoint's answer to the code that the application got last, or to this one. */
  async redeem(answer = this.answers.at(-1)): Promise<number> {
    const code = answer?.get('code');
    assert.ok(code, `no code: ${answer}`);
    const made = this.stage.broker.log.findLast(({ event }) => event === 'grant.made');
    const { status } = await fetch(`${this.stage.broker.url}/oauth/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        code,
        client_id: String(made?.fields.client),
        code_verifier: VERIFIER,
        redirect_uri: this.redirectUri,
      }),
    });
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#chromium.close();
    this.#client.close();
    await this.stage[Symbol.asyncDispose]();
  }
}
