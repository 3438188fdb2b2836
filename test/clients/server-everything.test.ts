/** A server of other people behind the broker: the reference server, with everything MCP 2025-11-25 has. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  type Progress,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { commandLine, root, startDemo } from '../support/demo.js';
import { type ConnectionV1, callText, connectV1 } from '../support/sdk-v1.js';

const WAIT_MS = 10_000;

const everything = join(root, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js');
const demo = await startDemo({ server: commandLine(process.execPath, everything, 'stdio') });
const logged: string[] = [];
const updated: string[] = [];

let app: ConnectionV1;
before(async () => {
  app = await connectV1(demo.mcpUrl, demo.user('alice'), {
    options: { capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } } },
    prepare: answerEverything,
  });
});
after(async () => {
  try {
    await app.client.close();
  } finally {
    await demo[Symbol.asyncDispose]();
  }
});

function answerEverything(client: Client): void {
  client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({
    role: 'assistant',
    model: 'test-model',
    content: { type: 'text', text: `answer within ${params.maxTokens} tokens` },
  }));
  client.setRequestHandler(ElicitRequestSchema, () => ({
    action: 'accept',
    content: { name: 'Ælfgifu', integer: 7 },
  }));
  client.setRequestHandler(ListRootsRequestSchema, () => ({
    roots: [{ uri: 'file:///home/alice/project', name: 'project' }],
  }));
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
    logged.push(String(params.data));
  });
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
    updated.push(params.uri);
  });
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `${what} did not arrive`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('the server learns what the client can do, and offers its tools accordingly', async () => {
  const { tools } = await app.client.listTools();
  const names = new Set(tools.map(({ name }) => name));
  for (const name of ['echo', 'trigger-sampling-request', 'trigger-elicitation-request', 'get-roots-list']) {
    assert.ok(names.has(name), `${name} is missing`);
  }
  assert.match(app.client.getInstructions() ?? '', /\S/);
});

test('a tool call passes text of any script unchanged', async () => {
  const message = 'naïve 日本語 🦊 "quoted" \\ \u2028 end';
  assert.ok((await callText(app.client, 'echo', { message })).endsWith(message));
});

test('progress arrives in order while the call runs', async () => {
  const steps: Progress[] = [];
  await app.client.callTool(
    { name: 'trigger-long-running-operation', arguments: { duration: 0.3, steps: 3 } },
    undefined,
    { onprogress: (progress) => steps.push(progress) },
  );
  assert.deepEqual(
    steps.map(({ progress, total }) => [progress, total]),
    [
      [1, 3],
      [2, 3],
      [3, 3],
    ],
  );
});

test('a quick call is answered while a slow one runs', async () => {
  const order: string[] = [];
  const slow = callText(app.client, 'trigger-long-running-operation', { duration: 1.5, steps: 1 });
  await Promise.all([
    slow.then(() => order.push('slow')),
    callText(app.client, 'get-sum', { a: 2, b: 3 }).then((text) => {
      assert.match(text, /\b5\b/);
      order.push('quick');
    }),
  ]);
  assert.deepEqual(order, ['quick', 'slow']);
});

test('a cancelled call ends, and the session goes on', async () => {
  const stop = new AbortController();
  const call = app.client.callTool(
    { name: 'trigger-long-running-operation', arguments: { duration: 1, steps: 1 } },
    undefined,
    { signal: stop.signal },
  );
  setTimeout(() => stop.abort('changed my mind'), 100);
  await assert.rejects(call, /changed my mind/);
  assert.ok((await callText(app.client, 'echo', { message: 'still here' })).endsWith('still here'));
});

test("a tool asks the client's model and gets its answer", async () => {
  const text = await callText(app.client, 'trigger-sampling-request', { prompt: 'hello', maxTokens: 17 });
  assert.match(text, /answer within 17 tokens/);
});

test('a tool asks the user and gets the answer', async () => {
  const text = await callText(app.client, 'trigger-elicitation-request');
  assert.match(text, /Name: Ælfgifu/);
  assert.match(text, /Favorite Integer: 7/);
});

test("the server reads the client's roots", async () => {
  assert.match(await callText(app.client, 'get-roots-list'), /file:\/\/\/home\/alice\/project/);
});

test('resources are listed, templated and read, as text and as bytes', async () => {
  const { resources } = await app.client.listResources();
  assert.ok(resources.length > 0);
  const { resourceTemplates } = await app.client.listResourceTemplates();
  assert.ok(resourceTemplates.length > 0);
  const text = await app.client.readResource({ uri: 'demo://resource/dynamic/text/1' });
  assert.match(JSON.stringify(text.contents[0]), /Resource 1: This is a plaintext resource/);
  const blob = await app.client.readResource({ uri: 'demo://resource/dynamic/blob/1' });
  assert.ok(blob.contents[0] && 'blob' in blob.contents[0]);
});

test('a subscribed resource reports its updates, and log lines follow the level that was set', async () => {
  const uri = 'demo://resource/dynamic/text/2';
  await app.client.setLoggingLevel('emergency');
  await app.client.subscribeResource({ uri: 'demo://resource/dynamic/text/3' });
  await app.client.setLoggingLevel('info');
  await app.client.subscribeResource({ uri });
  await until(
    () => logged.some((line) => line.includes(`Subscribe Resource request for URI: ${uri}`)),
    'the log line',
  );
  assert.ok(!logged.some((line) => line.includes('text/3')), 'nothing below the level that was set');
  await callText(app.client, 'toggle-subscriber-updates');
  await until(() => updated.includes(uri), 'the update');
  await callText(app.client, 'toggle-subscriber-updates');
  await app.client.unsubscribeResource({ uri });
});

test('prompts are listed, rendered and completed', async () => {
  const { prompts } = await app.client.listPrompts();
  assert.ok(prompts.some(({ name }) => name === 'args-prompt'));
  const { messages } = await app.client.getPrompt({
    name: 'args-prompt',
    arguments: { city: 'Jena', state: 'Thüringen' },
  });
  assert.match(JSON.stringify(messages), /Jena, Thüringen/);
  const { completion } = await app.client.complete({
    ref: { type: 'ref/prompt', name: 'completable-prompt' },
    argument: { name: 'department', value: 'E' },
  });
  assert.deepEqual(completion.values, ['Engineering']);
});

test("the server's environment is built from nothing, and the user's token does not leave with an answer", async () => {
  const text = await callText(app.client, 'get-env');
  const environment = new Map(Object.entries(JSON.parse(text) as Record<string, string>));
  const known = ['PATH', 'HOME', 'LANG', 'FORGEJO_URL', 'FORGEJO_ACCESS_TOKEN', 'PWD', 'TMPDIR'];
  const unknown = [...environment.keys()].filter((name) => !known.includes(name));
  assert.deepEqual(unknown, []);
  const token = environment.get('FORGEJO_ACCESS_TOKEN') ?? '';
  assert.doesNotMatch(token, /[\w-]{16,}/, 'the token is taken out of the answer');
});
