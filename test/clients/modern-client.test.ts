/** Applications on SDK v2 that speak 2026-07-28, in front of servers that do not. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { META } from '../../src/mcp/protocol.js';
import { type Bridge, type BridgeOptions, fixtureEntry, startBridge } from '../fixtures/bridge.js';
import { modernClient } from '../fixtures/modern-client.js';
import { until } from '../fixtures/until.js';
import { root } from '../support/demo.js';

/** The same as those of `modernClient`, which can look at their child. */
const INFO = { name: 'test', version: '1' };
const requestInit = { headers: { Authorization: 'Bearer ann.1' } };
const TOOLS = JSON.stringify([
  ['whoami', 'later', 'progress', 'notify', 'received'].map((name) => ({
    name,
    inputSchema: { type: 'object' },
  })),
]);
const everything = {
  ...fixtureEntry(),
  args: [join(root, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js'), 'stdio'],
  protocol: 'auto' as const,
};
const start = (options: BridgeOptions = {}): Promise<Bridge> =>
  startBridge({ traits: 'rich', env: { TOOLS }, ...options });

type Mode = 'auto' | { pin: string };
async function connect(bridge: Bridge, mode: Mode) {
  const client = new Client(INFO, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(bridge.url), { requestInit }));
  return { client, [Symbol.asyncDispose]: () => client.close() };
}

const textOf = (content: readonly { readonly type: string; readonly text?: unknown }[]): string =>
  content.map(({ text = '' }) => String(text)).join('\n');

for (const [title, mode] of [
  ['that negotiates', 'auto'],
  ['pinned to 2026-07-28', { pin: '2026-07-28' }],
] as const) {
  describe(`an application ${title}`, () => {
    test('uses all that the reference server has for it, in the version it prefers', async () => {
      await using bridge = await start({ servers: [everything] });
      await using app = await connect(bridge, mode);
      const { client } = app;
      assert.equal(client.getNegotiatedProtocolVersion(), '2026-07-28');
      assert.equal(client.getServerVersion()?.name, 'mcp-servers/everything');
      assert.ok(client.getInstructions());
      const { tools } = await client.listTools();
      assert.ok(tools.some(({ name }) => name === 'echo'));
      const echoed = await client.callTool({ name: 'echo', arguments: { message: 'ü' } });
      assert.match(textOf(echoed.content), /ü/);
      const structured = await client.callTool({
        name: 'get-structured-content',
        arguments: { location: 'New York' },
      });
      assert.ok(structured.structuredContent);
      const steps: number[] = [];
      await client.callTool(
        { name: 'trigger-long-running-operation', arguments: { duration: 0.3, steps: 3 } },
        { onprogress: ({ progress }) => steps.push(progress) },
      );
      assert.deepEqual(steps, [1, 2, 3]);
      const { resources } = await client.listResources();
      const [resource] = resources;
      assert.ok(resource);
      assert.ok((await client.readResource({ uri: resource.uri })).contents.length > 0);
      assert.ok((await client.listResourceTemplates()).resourceTemplates.length > 0);
      const { prompts } = await client.listPrompts();
      assert.ok(prompts.some(({ name }) => name === 'simple-prompt'));
      assert.ok((await client.getPrompt({ name: 'simple-prompt' })).messages.length > 0);
      const completed = await client.complete({
        ref: { type: 'ref/prompt', name: 'completable-prompt' },
        argument: { name: 'department', value: 'E' },
      });
      assert.deepEqual(completed.completion.values, ['Engineering']);
      await assert.rejects(
        client.callTool({ name: 'no-such-tool' }).then(({ isError }) => assert.ok(!isError)),
      );
      assert.equal(bridge.sessions.counts.children, 1);
    });

    test('hears what changes, while it listens', async () => {
      await using bridge = await start();
      await using app = await connect(bridge, mode);
      const { client } = app;
      const updated: string[] = [];
      let changes = 0;
      client.setNotificationHandler('notifications/resources/updated', ({ params }) => {
        updated.push(params.uri);
      });
      client.setNotificationHandler('notifications/tools/list_changed', () => {
        changes += 1;
      });
      const subscription = await client.listen({ toolsListChanged: true, resourceSubscriptions: ['a:1'] });
      const say = (method: string, params: object) =>
        client.callTool({ name: 'notify', arguments: { method, params, answer: { content: [] } } });
      await say('notifications/resources/updated', { uri: 'a:1' });
      await say('notifications/tools/list_changed', {});
      await until('both', () => updated.length === 1 && changes === 1);
      bridge.sessions.hangUp();
      assert.equal(await subscription.closed, 'graceful');
      await say('notifications/resources/updated', { uri: 'a:1' });
      assert.deepEqual(updated, ['a:1']);
    });

    test('gets the log messages of a call for which it asks', async () => {
      await using bridge = await start();
      await using app = await connect(bridge, mode);
      const logged: unknown[] = [];
      app.client.setNotificationHandler(
        'notifications/message',
        ({ params }) => void logged.push(params.data),
      );
      const say = (_meta: Record<string, unknown>, data: string) =>
        app.client.callTool({
          name: 'notify',
          arguments: {
            method: 'notifications/message',
            params: { level: 'info', data },
            answer: { content: [] },
          },
          _meta,
        });
      await say({}, 'unasked');
      await say({ [META.logLevel]: 'info' }, 'asked');
      assert.deepEqual(logged, ['asked']);
    });

    test('cancels a call', async () => {
      await using bridge = await start();
      await using app = await connect(bridge, mode);
      const stop = new AbortController();
      const call = app.client.callTool({ name: 'later', arguments: { ms: 60_000 } }, { signal: stop.signal });
      const received = async () => String((await modernClient(bridge.url).tool('received')).result.received);
      await until('the call', async () => (await received()).includes('60000'));
      stop.abort();
      await assert.rejects(call);
      await until('the cancellation', async () => (await received()).includes('notifications/cancelled'));
    });
  });
}
