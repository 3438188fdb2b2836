/** Applications on SDK v2, which ask first which era the server speaks, and hold the broker to RFC 9207. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  Client,
  IssuerMismatchError,
  type OAuthDiscoveryState,
  type StoredOAuthClientInformation,
  type StoredOAuthTokens,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from '@modelcontextprotocol/client';
import { Browser, type Person, signIn } from '../support/browser.js';
import { startDemo } from '../support/demo.js';
import { MemoryProvider } from '../support/memory-provider.js';

type ProviderV2 = MemoryProvider<StoredOAuthClientInformation, StoredOAuthTokens, OAuthDiscoveryState>;

const demo = await startDemo();
after(() => demo[Symbol.asyncDispose]());

const createClient = () =>
  new Client({ name: 'test-application', version: '2.0.0' }, { versionNegotiation: { mode: 'auto' } });

const createTransport = (authProvider: ProviderV2) =>
  new StreamableHTTPClientTransport(new URL(demo.mcpUrl), { authProvider });

/** The first leg: the application is refused, its user signs in, the browser comes back with this answer. */
async function goToSignIn(person: Person, provider: ProviderV2) {
  const transport = createTransport(provider);
  await assert.rejects(createClient().connect(transport), UnauthorizedError);
  const answer = provider.readAnswer(await signIn(new Browser(), provider.authorizationUrl, person));
  return { transport, answer };
}

async function connect(person: Person) {
  const provider: ProviderV2 = new MemoryProvider();
  const { transport: first, answer } = await goToSignIn(person, provider);
  await first.finishAuth(answer);
  await first.close();
  const client = createClient();
  await client.connect(createTransport(provider));
  return { client, provider, [Symbol.asyncDispose]: () => client.close() };
}

async function whoami(client: Client): Promise<string> {
  const { content, isError } = await client.callTool({ name: 'whoami', arguments: {} });
  assert.notEqual(isError, true);
  return content.map((item) => (item.type === 'text' ? item.text : '')).join('\n');
}

test('an application that negotiates the version registers, signs its user in and acts as that user', async () => {
  await using app = await connect(demo.user('alice'));
  const { tools } = await app.client.listTools();
  assert.ok(tools.some(({ name }) => name === 'whoami'));
  assert.match(await whoami(app.client), /\balice\b/);
  assert.equal(app.provider.visits, 1);
});

test('two users at the same time are two people', async () => {
  await using alice = await connect(demo.user('alice'));
  await using bob = await connect(demo.user('bob'));
  const ask = async (client: Client, login: string) => {
    assert.match(await whoami(client), new RegExp(`\\b${login}\\b`));
  };
  await Promise.all(
    Array.from({ length: 8 }, () => [ask(alice.client, 'alice'), ask(bob.client, 'bob')]).flat(),
  );
});

test('a refused access token is refreshed without a browser', async () => {
  await using app = await connect(demo.user('alice'));
  const tokens = app.provider.tokens();
  assert.ok(tokens?.refresh_token);
  app.provider.saveTokens({ ...tokens, access_token: 'not-a-token' });
  assert.match(await whoami(app.client), /\balice\b/);
  assert.notEqual(app.provider.tokens()?.access_token, 'not-a-token');
  assert.ok(app.provider.tokens()?.refresh_token);
  assert.equal(app.provider.visits, 1);
});

test('the token answer names its scope, so that a later step-up is not taken for a new sign-in', async () => {
  await using app = await connect(demo.user('bob'));
  assert.ok(app.provider.tokens()?.scope);
});

test('the way back carries the issuer exactly once, byte for byte as the metadata has it', async () => {
  const provider: ProviderV2 = new MemoryProvider();
  const { answer } = await goToSignIn(demo.user('alice'), provider);
  const metadata = provider.discoveryState()?.authorizationServerMetadata;
  assert.equal(metadata?.authorization_response_iss_parameter_supported, true);
  assert.deepEqual(answer.getAll('iss'), [metadata?.issuer]);
});

test('an answer without issuer is refused by the application: the broker has promised one', async () => {
  const { transport, answer } = await goToSignIn(demo.user('alice'), new MemoryProvider());
  await assert.rejects(transport.finishAuth(answer.get('code') ?? ''), IssuerMismatchError);
});
