/**
 * What an application gives the official SDKs so that they can sign in: storage in memory, and a note of where the
 * browser has to go. One class for SDK v1 and v2, whose interfaces differ in the stored types only.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { NOWHERE } from './oauth-client.js';

export class MemoryProvider<Information, Tokens, Discovery> {
  readonly redirectUrl = NOWHERE;
  /** How often the SDK wanted a browser. */
  visits = 0;
  stored: { information?: Information; tokens?: Tokens; discovery?: Discovery } = {};
  #authorizationUrl: URL | undefined;
  #verifier = '';
  #state = '';

  get clientMetadata() {
    return {
      client_name: 'Test application',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }

  state(): string {
    this.#state = randomUUID();
    return this.#state;
  }

  clientInformation(): Information | undefined {
    return this.stored.information;
  }

  saveClientInformation(information: Information): void {
    this.stored.information = information;
  }

  tokens(): Tokens | undefined {
    return this.stored.tokens;
  }

  saveTokens(tokens: Tokens): void {
    this.stored.tokens = tokens;
  }

  saveCodeVerifier(verifier: string): void {
    this.#verifier = verifier;
  }

  codeVerifier(): string {
    return this.#verifier;
  }

  saveDiscoveryState(discovery: Discovery): void {
    this.stored.discovery = discovery;
  }

  discoveryState(): Discovery | undefined {
    return this.stored.discovery;
  }

  redirectToAuthorization(url: URL): void {
    this.visits += 1;
    this.#authorizationUrl = url;
  }

  invalidateCredentials(scope: 'all' | 'client' | 'tokens' | 'verifier' | 'discovery'): void {
    if (scope === 'all' || scope === 'client') delete this.stored.information;
    if (scope === 'all' || scope === 'tokens') delete this.stored.tokens;
    if (scope === 'all' || scope === 'discovery') delete this.stored.discovery;
  }

  /** Where the SDK wants the browser to go. */
  get authorizationUrl(): URL {
    assert.ok(this.#authorizationUrl, 'the SDK asked for no browser');
    return this.#authorizationUrl;
  }

  /** The SDKs leave `state` to the application: this is the application. */
  readAnswer(callback: URL): URLSearchParams {
    const { searchParams } = callback;
    assert.equal(searchParams.get('error'), null, `refused: ${searchParams.get('error_description')}`);
    assert.equal(searchParams.get('state'), this.#state);
    return searchParams;
  }
}
