/** The client of the new era, as applications use it (SDK v2), in front of a server of the new era. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { access, type Bridge, type BridgeOptions, FIXTURES, startBridge } from '../fixtures/bridge.js';
import { until } from '../fixtures/until.js';

const ANSWERS: Readonly<Record<string, string>> = { 'name?': 'Ann', 'colour?': 'blue' };
const entry = {
  name: 'main',
  command: process.execPath,
  args: [join(FIXTURES, 'modern-server.js')],
  env: {},
  protocol: 'auto' as const,
};
const start = (options: BridgeOptions = {}): Promise<Bridge> => startBridge({ servers: [entry], ...options });

interface App extends AsyncDisposable {
  readonly client: Client;
  /** The text of a tool's answer. */
  call(name: string, given?: Record<string, unknown>): Promise<string>;
  readonly asked: string[];
  readonly updated: string[];
}

/** `bridge` may be another one from one request to the next: that is how a restart looks from here. */
async function connect(
  bridge: () => Bridge,
  meanwhile: (question: string) => Promise<void> = () => Promise.resolve(),
): Promise<App> {
  const client = new Client(
    { name: 'application', version: '1.0.0' },
    { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode: { pin: '2026-07-28' } } },
  );
  const asked: string[] = [];
  const updated: string[] = [];
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    asked.push(params.message);
    await meanwhile(params.message);
    return { action: 'accept', content: { it: ANSWERS[params.message] ?? '' } };
  });
  client.setNotificationHandler(
    'notifications/resources/updated',
    ({ params }) => void updated.push(params.uri),
  );
  const transport = new StreamableHTTPClientTransport(new URL(bridge().url), {
    requestInit: { headers: { Authorization: 'Bearer ann.1' } },
    fetch: (_url, init) => fetch(bridge().url, init),
  });
  await client.connect(transport);
  return {
    client,
    call: async (name, given = {}) => {
      const { content } = await client.callTool({ name, arguments: given });
      return content.map((part) => (part.type === 'text' ? part.text : '')).join('\n');
    },
    asked,
    updated,
    [Symbol.asyncDispose]: () => client.close(),
  };
}

test('it finds a server of its own era', async () => {
  await using bridge = await start();
  await using app = await connect(() => bridge);
  assert.equal(app.client.getServerVersion()?.name, 'modern-fixture');
  assert.equal(app.client.getInstructions(), 'modern');
  const { tools } = await app.client.listTools();
  assert.ok(tools.some(({ name }) => name === 'interview'));
  assert.equal(JSON.parse(await app.call('meta'))['io.modelcontextprotocol/clientInfo'].name, 'application');
});

test('it answers what a tool requires in two rounds', async () => {
  await using bridge = await start();
  await using app = await connect(() => bridge);
  assert.equal(await app.call('interview'), 'Ann likes blue');
  assert.deepEqual(app.asked, ['name?', 'colour?']);
});

test('it listens, and goes on listening when the child has crashed', async () => {
  await using bridge = await start();
  await using app = await connect(() => bridge);
  const { honoredFilter, close } = await app.client.listen({ resourceSubscriptions: ['a:1'] });
  assert.deepEqual(honoredFilter, { resourceSubscriptions: ['a:1'] });
  await app.call('touch', { uri: 'a:1' });
  await until('the change', () => app.updated.length === 1);
  const before = await app.call('life');
  await assert.rejects(app.call('die'), /exit code 3/);
  assert.notEqual(await app.call('life'), before);
  await app.call('touch', { uri: 'a:1' });
  await until('the next change', () => app.updated.length === 2);
  await close();
  await until('the cancellation', async () => JSON.parse(await app.call('cancelled')).length === 1);
});

test('a fresh token brings a fresh child, and it notices nothing', async () => {
  let now = Date.now();
  let expiresAt = now + 100_000;
  await using bridge = await start({ now: () => now, upstream: () => access(expiresAt) });
  await using app = await connect(() => bridge);
  const before = await app.call('life');
  await app.client.listen({ resourceSubscriptions: ['a:1'] });
  now += 50_000;
  expiresAt = now + 10_000_000;
  bridge.sessions.tick();
  await until('the next child', async () => (await app.call('life')) !== before);
  await until('the end of the other', () => bridge.sessions.counts.children === 1);
  await app.call('touch', { uri: 'a:1' });
  await until('the change', () => app.updated.length === 1);
});

test('the broker is started anew in the middle of an interview', async () => {
  let bridge = await start();
  await using app = await connect(
    () => bridge,
    async (question) => {
      if (question !== 'colour?') return;
      const { store } = bridge;
      await bridge[Symbol.asyncDispose]();
      bridge = await start({ store });
    },
  );
  assert.equal(await app.call('interview'), 'Ann likes blue');
  assert.ok(!bridge.events.some(({ event }) => event === 'server.era'), 'nobody asks for the era again');
  await bridge[Symbol.asyncDispose]();
});

test('a broker that stops ends what is listened to in due form, and the next one is listened to', async () => {
  let bridge = await start();
  await using app = await connect(() => bridge);
  const { closed } = await app.client.listen({ resourceSubscriptions: ['a:1'] });
  bridge.sessions.hangUp();
  assert.equal(await closed, 'graceful');
  const { store } = bridge;
  await bridge[Symbol.asyncDispose]();
  bridge = await start({ store });
  await app.client.listen({ resourceSubscriptions: ['a:1'] });
  await app.call('touch', { uri: 'a:1' });
  await until('the change', () => app.updated.length === 1);
  await bridge[Symbol.asyncDispose]();
});
