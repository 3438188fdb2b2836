/** An application on SDK v1: connects, is sent to sign in, comes back with the code, connects again. */
import assert from 'node:assert/strict';
import { type OAuthDiscoveryState, UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client, type ClientOptions } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { OAuthClientInformationMixed, OAuthTokens } from '@modelcontextprotocol/sdk/shared/auth.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { Browser, type Person, signIn } from './browser.js';
import { MemoryProvider } from './memory-provider.js';

export type ProviderV1 = MemoryProvider<OAuthClientInformationMixed, OAuthTokens, OAuthDiscoveryState>;

export interface ConnectionV1 extends AsyncDisposable {
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
  readonly provider: ProviderV1;
}

export interface ConnectOptions {
  readonly browser?: Browser;
  /** One with tokens needs no browser. */
  readonly provider?: ProviderV1;
  readonly options?: ClientOptions;
  /** Called before the handshake: the place to set handlers. */
  readonly prepare?: (client: Client) => void;
}

export async function connectV1(
  mcpUrl: string,
  person: Person,
  { browser = new Browser(), provider = new MemoryProvider(), options = {}, prepare }: ConnectOptions = {},
): Promise<ConnectionV1> {
  const url = new URL(mcpUrl);
  if (provider.tokens() === undefined) {
    const first = new StreamableHTTPClientTransport(url, { authProvider: provider });
    await assert.rejects(createClient({}).connect(first as Transport), UnauthorizedError);
    const answer = provider.readAnswer(await signIn(browser, provider.authorizationUrl, person));
    await first.finishAuth(answer.get('code') ?? '');
    await first.close();
  }
  const transport = new StreamableHTTPClientTransport(url, { authProvider: provider });
  const client = createClient(options);
  prepare?.(client);
  await client.connect(transport as Transport);
  return { client, transport, provider, [Symbol.asyncDispose]: () => client.close() };
}

/** The text of a tool's answer; fails when the tool did. */
export async function callText(
  client: Client,
  name: string,
  given: Record<string, unknown> = {},
): Promise<string> {
  const result = await client.callTool({ name, arguments: given }, CallToolResultSchema);
  const { content, isError } = CallToolResultSchema.parse(result);
  const text = content.map((item) => (item.type === 'text' ? item.text : `[${item.type}]`)).join('\n');
  assert.notEqual(isError, true, `${name} failed: ${text}`);
  return text;
}

function createClient(options: ClientOptions): Client {
  return new Client({ name: 'test-application', version: '1.0.0' }, options);
}
