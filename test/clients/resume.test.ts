/** Applications on the SDKs whose connections are cut: their calls complete, and what they subscribed to still comes. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  Client as ClientV2,
  StreamableHTTPClientTransport as TransportV2,
} from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { commandLine, root, startDemo } from '../support/demo.js';
import { obtainTokens } from '../support/oauth-client.js';
import { startTcpProxy } from '../support/tcp-proxy.js';

const everything = join(root, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js');
const demo = await startDemo({ server: commandLine(process.execPath, everything, 'stdio') });
after(() => demo[Symbol.asyncDispose]());

const SLOW = { name: 'trigger-long-running-operation', arguments: { duration: 4, steps: 4 } };
const INFO = { name: 'test-application', version: '1.0.0' };
const URI = 'demo://resource/dynamic/text/1';

let init: { readonly requestInit: RequestInit };
before(async () => {
  const { access_token } = await obtainTokens(demo.mcpUrl, demo.user('alice'));
  init = { requestInit: { headers: { Authorization: `Bearer ${access_token}` } } };
});

/** What both SDKs can do, in the same words. */
interface App {
  callSlowly(onStep: (step: number) => void): Promise<unknown>;
  subscribe(onUpdate: (uri: string) => void): Promise<unknown>;
  readonly sessionId: string | undefined;
  close(): Promise<void>;
}

async function connectV1(url: string): Promise<App> {
  const client = new ClientV1(INFO);
  const transport = new TransportV1(new URL(url), init);
  await client.connect(transport as Transport);
  return {
    sessionId: transport.sessionId,
    callSlowly: (onStep) =>
      client.callTool(SLOW, undefined, { onprogress: ({ progress }) => onStep(progress) }),
    subscribe(onUpdate) {
      client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => onUpdate(params.uri));
      return client.subscribeResource({ uri: URI });
    },
    close: () => client.close(),
  };
}

async function connectV2(url: string): Promise<App> {
  const client = new ClientV2(INFO, { versionNegotiation: { mode: 'legacy' } });
  const transport = new TransportV2(new URL(url), init);
  await client.connect(transport);
  return {
    sessionId: transport.sessionId,
    callSlowly: (onStep) => client.callTool(SLOW, { onprogress: ({ progress }) => onStep(progress) }),
    subscribe(onUpdate) {
      client.setNotificationHandler('notifications/resources/updated', ({ params }) => onUpdate(params.uri));
      return client.subscribeResource({ uri: URI });
    },
    close: () => client.close(),
  };
}

/** Starts the updates, or stops them, over a wire of its own. */
async function toggleUpdates({ sessionId = '' }: App): Promise<void> {
  const headers = {
    ...init.requestInit.headers,
    'Content-Type': 'application/json',
    Accept: 'application/json',
    'Mcp-Session-Id': sessionId,
  };
  const params = { name: 'toggle-subscriber-updates', arguments: {} };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 'toggle', method: 'tools/call', params });
  const response = await fetch(demo.mcpUrl, { method: 'POST', headers, body });
  assert.match(await response.text(), /"result"/);
}

for (const [sdk, connect] of [
  ['v1', connectV1],
  ['v2', connectV2],
] as const) {
  test(`a call of SDK ${sdk} that is cut off twice completes, with every step in order`, async () => {
    await using proxy = await startTcpProxy(demo.mcpUrl);
    const app = await connect(proxy.url);
    const steps: number[] = [];
    const result = await app.callSlowly((step) => {
      steps.push(step);
      if (step <= 2) assert.ok(proxy.cut() > 0);
    });
    assert.deepEqual(steps, [1, 2, 3, 4]);
    assert.match(JSON.stringify(result), /completed/);
    await app.close();
  });

  test(`SDK ${sdk} hears of what happened while its standing stream was cut`, async () => {
    await using proxy = await startTcpProxy(demo.mcpUrl);
    const app = await connect(proxy.url);
    let told: (uri: string) => void = () => undefined;
    const update = new Promise<string>((resolve) => {
      told = resolve;
    });
    await app.subscribe(told);
    proxy.cut();
    await toggleUpdates(app);
    assert.equal(await update, URI);
    await app.close();
  });
}
