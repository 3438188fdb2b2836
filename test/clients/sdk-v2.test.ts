/** Applications on SDK v2, which ask first which era the server speaks, and hold the broker to RFC 9207. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type Client, IssuerMismatchError } from '@modelcontextprotocol/client';
import type { Person } from '../support/browser.js';
import { startDemo } from '../support/demo.js';
import { MemoryProvider } from '../support/memory-provider.js';
import { connectV2, goToSignIn, type ProviderV2 } from '../support/sdk-v2.js';

const demo = await startDemo();
after(() => demo[Symbol.asyncDispose]());

const connect = (person: Person) => connectV2(demo.mcpUrl, person);

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
  const { answer } = await goToSignIn(demo.mcpUrl, demo.user('alice'), provider);
  const metadata = provider.discoveryState()?.authorizationServerMetadata;
  assert.equal(metadata?.authorization_response_iss_parameter_supported, true);
  assert.deepEqual(answer.getAll('iss'), [metadata?.issuer]);
});

test('an answer without issuer is refused by the application: the broker has promised one', async () => {
  const { transport, answer } = await goToSignIn(demo.mcpUrl, demo.user('alice'), new MemoryProvider());
  await assert.rejects(transport.finishAuth(answer.get('code') ?? ''), IssuerMismatchError);
});
