/** An application on SDK v2: is refused, is sent to sign in, comes back with the answer, connects again. */
import assert from 'node:assert/strict';
import {
  Client,
  type ClientOptions,
  type OAuthDiscoveryState,
  type StoredOAuthClientInformation,
  type StoredOAuthTokens,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from '@modelcontextprotocol/client';
import { Browser, type Person, signIn } from './browser.js';
import { MemoryProvider } from './memory-provider.js';

export type ProviderV2 = MemoryProvider<StoredOAuthClientInformation, StoredOAuthTokens, OAuthDiscoveryState>;

export interface ConnectionV2 extends AsyncDisposable {
  readonly client: Client;
  readonly provider: ProviderV2;
}

export interface ConnectOptionsV2 {
  /** Default: it negotiates the version. */
  readonly options?: ClientOptions;
  /** Called before the handshake: the place to set handlers. */
  readonly prepare?: (client: Client) => void;
}

const NEGOTIATING: ClientOptions = { versionNegotiation: { mode: 'auto' } };

/** The first leg, to the point where the browser comes back with this answer. */
export async function goToSignIn(
  mcpUrl: string,
  person: Person,
  provider: ProviderV2,
  options: ClientOptions = NEGOTIATING,
) {
  const transport = createTransport(mcpUrl, provider);
  await assert.rejects(createClient(options).connect(transport), UnauthorizedError);
  const answer = provider.readAnswer(await signIn(new Browser(), provider.authorizationUrl, person));
  return { transport, answer };
}

export async function connectV2(
  mcpUrl: string,
  person: Person,
  { options = NEGOTIATING, prepare }: ConnectOptionsV2 = {},
): Promise<ConnectionV2> {
  const provider: ProviderV2 = new MemoryProvider();
  const { transport: first, answer } = await goToSignIn(mcpUrl, person, provider, options);
  await first.finishAuth(answer);
  await first.close();
  const client = createClient(options);
  prepare?.(client);
  await client.connect(createTransport(mcpUrl, provider));
  return { client, provider, [Symbol.asyncDispose]: () => client.close() };
}

function createClient(options: ClientOptions): Client {
  return new Client({ name: 'test-application', version: '2.0.0' }, options);
}

function createTransport(mcpUrl: string, authProvider: ProviderV2): StreamableHTTPClientTransport {
  return new StreamableHTTPClientTransport(new URL(mcpUrl), { authProvider });
}
