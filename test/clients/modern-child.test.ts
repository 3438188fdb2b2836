/** Clients of the old era, as applications use them, in front of a server of the new one. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as TransportV2,
} from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import {
  CallToolResultSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
  McpError,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { META } from '../../src/mcp/protocol.js';
import { type Bridge, type BridgeOptions, FIXTURES, startBridge } from '../fixtures/bridge.js';
import { clientOf, connect, eventsOf, initializeBody, nextEvent } from '../fixtures/client.js';
import { until } from '../fixtures/until.js';

const INFO = { name: 'test-application', version: '1.0.0' };
const requestInit = { headers: { Authorization: 'Bearer ann.1' } };
const entry = {
  name: 'main',
  command: process.execPath,
  args: [join(FIXTURES, 'modern-server.js')],
  env: {},
  protocol: 'auto' as const,
};
const start = (options: BridgeOptions = {}): Promise<Bridge> => startBridge({ servers: [entry], ...options });
const probes = (bridge: Bridge): number => bridge.events.filter(({ event }) => event === 'server.era').length;

/** What both kinds of client can do here. */
interface App extends AsyncDisposable {
  /** The text of a tool's answer. */
  call(name: string, given?: Record<string, unknown>, signal?: AbortSignal): Promise<string>;
  listTools(): Promise<string[]>;
  setLevel(level: 'info'): Promise<unknown>;
  subscribe(uri: string): Promise<unknown>;
  unsubscribe(uri: string): Promise<unknown>;
  read(uri: string): Promise<unknown>;
  ping(): Promise<unknown>;
  readonly instructions: string | undefined;
  readonly server: string | undefined;
  /** What the user was asked. */
  readonly asked: string[];
  readonly updated: string[];
  readonly logged: unknown[];
  /** How often the list of tools changed. */
  readonly changes: () => number;
}

const ANSWERS: Readonly<Record<string, string>> = { 'name?': 'Ann', 'colour?': 'blue', '?': 'x' };
type Content = readonly { readonly type: string; readonly text?: unknown }[];
const textOf = (content: Content) => content.map(({ text = '' }) => String(text)).join('\n');

async function appV1(url: string): Promise<App> {
  const client = new ClientV1(INFO, { capabilities: { elicitation: {} } });
  const asked: string[] = [];
  const updated: string[] = [];
  const logged: unknown[] = [];
  let changes = 0;
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
    asked.push(params.message);
    return { action: 'accept', content: { it: ANSWERS[params.message] ?? '' } };
  });
  client.setNotificationHandler(
    ResourceUpdatedNotificationSchema,
    ({ params }) => void updated.push(params.uri),
  );
  client.setNotificationHandler(
    LoggingMessageNotificationSchema,
    ({ params }) => void logged.push(params.data),
  );
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
    changes += 1;
  });
  await client.connect(new TransportV1(new URL(url), { requestInit }) as Transport);
  return {
    call: async (name, given = {}, signal) => {
      const answer = await client.callTool({ name, arguments: given }, CallToolResultSchema, {
        ...(signal && { signal }),
      });
      return textOf(CallToolResultSchema.parse(answer).content);
    },
    listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
    setLevel: (level) => client.setLoggingLevel(level),
    subscribe: (uri) => client.subscribeResource({ uri }),
    unsubscribe: (uri) => client.unsubscribeResource({ uri }),
    read: (uri) => client.readResource({ uri }),
    ping: () => client.ping(),
    instructions: client.getInstructions(),
    server: client.getServerVersion()?.name,
    asked,
    updated,
    logged,
    changes: () => changes,
    [Symbol.asyncDispose]: () => client.close(),
  };
}

async function appV2(url: string): Promise<App> {
  const client = new ClientV2(INFO, {
    capabilities: { elicitation: { form: {} } },
    versionNegotiation: { mode: 'legacy' },
  });
  const asked: string[] = [];
  const updated: string[] = [];
  const logged: unknown[] = [];
  let changes = 0;
  client.setRequestHandler('elicitation/create', ({ params }) => {
    asked.push(params.message);
    return { action: 'accept', content: { it: ANSWERS[params.message] ?? '' } };
  });
  client.setNotificationHandler(
    'notifications/resources/updated',
    ({ params }) => void updated.push(params.uri),
  );
  client.setNotificationHandler('notifications/message', ({ params }) => void logged.push(params.data));
  client.setNotificationHandler('notifications/tools/list_changed', () => {
    changes += 1;
  });
  await client.connect(new TransportV2(new URL(url), { requestInit }));
  return {
    call: async (name, given = {}, signal) =>
      textOf((await client.callTool({ name, arguments: given }, { ...(signal && { signal }) })).content),
    listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
    setLevel: (level) => client.setLoggingLevel(level),
    subscribe: (uri) => client.subscribeResource({ uri }),
    unsubscribe: (uri) => client.unsubscribeResource({ uri }),
    read: (uri) => client.readResource({ uri }),
    ping: () => client.ping(),
    instructions: client.getInstructions(),
    server: client.getServerVersion()?.name,
    asked,
    updated,
    logged,
    changes: () => changes,
    [Symbol.asyncDispose]: () => client.close(),
  };
}

/** With how each tells its application that a resource is not there: v2 has the new code for it in either era. */
const KINDS = [
  ['SDK v1', appV1, -32002],
  ['SDK v2 in legacy mode', appV2, -32602],
] as const;
for (const [kind, connectApp, notFound] of KINDS) {
  describe(`a client on ${kind}`, () => {
    test('finds a server of its era: handshake, tools, ping', async () => {
      await using bridge = await start();
      await using app = await connectApp(bridge.url);
      assert.deepEqual([app.server, app.instructions], ['modern-fixture', 'modern']);
      assert.ok((await app.listTools()).includes('life'), 'a tool whose output is no object is still there');
      const meta = JSON.parse(await app.call('meta'));
      assert.equal(meta[META.version], '2026-07-28');
      assert.equal(meta[META.clientInfo].name, INFO.name);
      assert.deepEqual(Object.keys(meta[META.capabilities]), ['elicitation']);
      await app.ping();
      assert.ok(!(await app.call('received')).includes('"ping"'));
      assert.equal(probes(bridge), 1);
    });

    test('answers what a tool asks in two rounds, and sees one call', async () => {
      await using bridge = await start();
      await using app = await connectApp(bridge.url);
      assert.equal(await app.call('interview'), 'Ann likes blue');
      assert.deepEqual(app.asked, ['name?', 'colour?']);
      assert.equal(bridge.sessions.counts.calls, 0);
    });

    test('subscribes, hears of changes once, and no longer when it has unsubscribed', async () => {
      await using bridge = await start();
      await using app = await connectApp(bridge.url);
      await app.subscribe('a:1');
      await app.subscribe('a:2');
      await app.call('touch', { uri: 'a:1' });
      await app.call('touch', { uri: 'a:2' });
      await app.unsubscribe('a:1');
      await app.call('touch', { uri: 'a:1' });
      await app.call('touch', { uri: 'a:2' });
      await until('the changes', () => app.updated.length >= 3 && app.changes() >= 1);
      assert.deepEqual(app.updated, ['a:1', 'a:2', 'a:2']);
    });

    test('gets log messages once it has set a level', async () => {
      await using bridge = await start();
      await using app = await connectApp(bridge.url);
      await app.call('log');
      await app.setLevel('info');
      await app.call('log');
      await until('the message', () => app.logged.length > 0);
      assert.deepEqual(app.logged, ['said']);
    });

    test('cancels a call', async () => {
      await using bridge = await start();
      await using app = await connectApp(bridge.url);
      const abort = new AbortController();
      const call = app.call('never', {}, abort.signal);
      const rejected = assert.rejects(call);
      await until('the call', () => bridge.sessions.counts.calls === 1);
      abort.abort('enough');
      await rejected;
      await until('the end of it', async () => JSON.parse(await app.call('cancelled')).length === 1);
    });

    test('learns that a resource is not there', async () => {
      await using bridge = await start();
      await using app = await connectApp(bridge.url);
      await assert.rejects(app.read('a:9'), { code: notFound });
    });

    test('goes on with a new child, which knows its subscriptions and its log level', async () => {
      await using bridge = await start();
      await using app = await connectApp(bridge.url);
      await app.setLevel('info');
      await app.subscribe('a:1');
      const before = await app.call('life');
      await assert.rejects(app.call('die'), /exit code 3/);
      assert.notEqual(await app.call('life'), before);
      assert.equal(JSON.parse(await app.call('meta'))[META.logLevel], 'info');
      const listens = () => app.call('received').then((text) => text.includes('resourceSubscriptions'));
      await until('the subscription', listens);
      await app.call('touch', { uri: 'a:1' });
      await until('the change', () => app.updated.length === 1);
      assert.equal(probes(bridge), 1);
    });
  });
}

test('a child that dies between two rounds ends the call, and no other', async () => {
  await using bridge = await start();
  await using app = await appV1(bridge.url);
  await assert.rejects(
    app.call('fragile'),
    (error) => error instanceof McpError && /exit code 4/.test(error.message),
  );
  assert.equal(await app.call('interview'), 'Ann likes blue');
});

test('a question goes out on the stream of its own call, not on that of a newer one', async () => {
  await using bridge = await start();
  const client = await connect(bridge.url, 'ann.1', initializeBody('2025-11-25', { elicitation: {} }));
  const tool = (id: string, name: string) =>
    client.post(
      JSON.stringify({
        jsonrpc: '2.0',
        id,
        method: 'tools/call',
        params: { name, _meta: { progressToken: id } },
      }),
    );
  const older = eventsOf(await tool('a', 'interview'));
  const first = await nextEvent(older);
  const newer = eventsOf(await tool('b', 'never'));
  assert.equal((await nextEvent(newer)).method, 'notifications/progress');
  const result = { action: 'accept', content: { it: 'x' } };
  const answer = (id: unknown) => client.post(JSON.stringify({ jsonrpc: '2.0', id, result }));
  await answer(first.id);
  const second = await nextEvent(older);
  assert.equal(second.params?.message, 'colour?');
  await answer(second.id);
  assert.equal((await nextEvent(older)).id, 'a');
  const cancel = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'b' } };
  await client.post(JSON.stringify(cancel));
  assert.equal((await newer.next()).done, true, 'nothing else came on the newer one');
});

test('a session of a former broker goes on, and nobody asks for the era again', async () => {
  const first = await start();
  const client = await connect(first.url);
  await client.call('tools/call', { name: 'life' });
  await first[Symbol.asyncDispose]();
  await using bridge = await start({ store: first.store });
  const headers = { ...client.headers, 'Content-Type': 'application/json' };
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id: 'x',
    method: 'tools/call',
    params: { name: 'received' },
  });
  const response = await fetch(bridge.url, { method: 'POST', headers, body });
  const { result } = JSON.parse(await response.text());
  assert.match(result.content[0].text, /server\/discover/);
  assert.equal(probes(bridge), 0);
});

test('a server that is said to be modern, and is not, is an error and no crash', async () => {
  const legacy = { ...entry, args: [join(FIXTURES, 'server.js')], protocol: 'modern' as const };
  await using bridge = await start({ servers: [legacy] });
  await assert.rejects(appV1(bridge.url), /no such method/);
});

test('a verdict that is no longer true costs clients their handshake until it is made again', async () => {
  const first = await start();
  await (await appV1(first.url))[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
  const { store } = first;
  const verdict = store.eras.get('main');
  assert.ok(verdict !== undefined);
  store.eras.set('main', { ...verdict, era: 'legacy', judgedAt: 0 });
  await using bridge = await start({ store });
  await assert.rejects(appV1(bridge.url), /speaks 2026-07-28 only/);
  await assert.rejects(appV1(bridge.url), /speaks 2026-07-28 only/, 'the verdict stands meanwhile');
  await until('the other verdict', () => store.eras.get('main')?.era === 'modern');
  await using app = await appV1(bridge.url);
  assert.equal(app.server, 'modern-fixture');
});

test('a server that answers as deep as nobody may ends no one but itself', async () => {
  const program = `const deep = '['.repeat(20_000) + ']'.repeat(20_000);
    process.stdin.once('data', (line) => console.log('{"jsonrpc":"2.0","id":' +
      JSON.stringify(JSON.parse(line).id) + ',"result":{"supportedVersions":["2026-07-28"],"capabilities":{},"_meta":{"${META.serverInfo}":{"name":' + deep + '}}}}'));`;
  const deep = { ...entry, args: ['-e', program], protocol: 'modern' as const };
  await using bridge = await start({ servers: [deep] });
  const response = await clientOf(bridge.url, requestInit.headers).post(initializeBody());
  assert.match(await response.text(), /no usable answer to server\/discover/);
});
