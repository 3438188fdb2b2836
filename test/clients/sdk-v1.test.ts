/** Applications on SDK v1 (1.x), the one most clients are built on, against the broker as a process of its own. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Browser } from '../support/browser.js';
import { startDemo } from '../support/demo.js';
import { type ConnectionV1, callText, connectV1 } from '../support/sdk-v1.js';

const demo = await startDemo();
after(() => demo[Symbol.asyncDispose]());

test('an application registers, signs its user in and acts as that user', async () => {
  await using app = await connectV1(demo.mcpUrl, demo.user('alice'));
  const { tools } = await app.client.listTools();
  assert.ok(tools.some(({ name }) => name === 'whoami'));
  assert.match(await callText(app.client, 'whoami'), /\balice\b/);
  assert.equal(app.provider.visits, 1);
});

test('two users at the same time are two people', async () => {
  await using alice = await connectV1(demo.mcpUrl, demo.user('alice'));
  await using bob = await connectV1(demo.mcpUrl, demo.user('bob'));
  assert.notEqual(alice.transport.sessionId, bob.transport.sessionId);
  const ask = async ({ client }: ConnectionV1, login: string) => {
    assert.match(await callText(client, 'whoami'), new RegExp(`\\b${login}\\b`));
  };
  await Promise.all(Array.from({ length: 8 }, () => [ask(alice, 'alice'), ask(bob, 'bob')]).flat());
});

test('a refused access token is refreshed without a browser, and the session goes on', async () => {
  await using app = await connectV1(demo.mcpUrl, demo.user('alice'));
  const { provider, transport } = app;
  const tokens = provider.tokens();
  assert.ok(tokens?.refresh_token);
  const session = transport.sessionId;
  provider.saveTokens({ ...tokens, access_token: 'not-a-token' });
  assert.match(await callText(app.client, 'whoami'), /\balice\b/);
  assert.notEqual(provider.tokens()?.access_token, 'not-a-token');
  assert.ok(provider.tokens()?.refresh_token);
  assert.equal(transport.sessionId, session);
  assert.equal(provider.visits, 1);
});

test('tokens outlive the connection: the next one needs no browser', async () => {
  const first = await connectV1(demo.mcpUrl, demo.user('bob'));
  await first.client.close();
  await using again = await connectV1(demo.mcpUrl, demo.user('bob'), { provider: first.provider });
  assert.match(await callText(again.client, 'whoami'), /\bbob\b/);
  assert.equal(again.provider.visits, 1);
});

test('a second application of the same user leaves the first one working', async () => {
  const browser = new Browser();
  await using first = await connectV1(demo.mcpUrl, demo.user('alice'), { browser });
  await using second = await connectV1(demo.mcpUrl, demo.user('alice'), { browser });
  assert.match(await callText(first.client, 'whoami'), /\balice\b/);
  assert.match(await callText(second.client, 'whoami'), /\balice\b/);
});

test('a session that its client ended is gone', async () => {
  await using app = await connectV1(demo.mcpUrl, demo.user('alice'));
  await callText(app.client, 'whoami');
  const session = app.transport.sessionId;
  assert.ok(session);
  await app.transport.terminateSession();
  const token = app.provider.tokens()?.access_token ?? '';
  const answer = await fetch(demo.mcpUrl, {
    method: 'POST',
    headers: {
      Authorization: `Bearer ${token}`,
      'Content-Type': 'application/json',
      Accept: 'application/json, text/event-stream',
      'Mcp-Session-Id': session,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
  });
  await answer.body?.cancel();
  assert.equal(answer.status, 404);
});
