/** An application of the new era on SDK v2, which is asked things by a server of the old one on SDK v1. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { FIXTURES, startBridge } from '../fixtures/bridge.js';

const bridge = await startBridge({
  servers: [
    {
      name: 'main',
      command: process.execPath,
      args: [join(FIXTURES, 'conformance-legacy.js')],
      env: {},
      protocol: 'legacy',
    },
  ],
});
after(() => bridge[Symbol.asyncDispose]());

const CONTENT: Readonly<Record<string, Record<string, string>>> = {
  'What is your name?': { name: 'Ann' },
  'Step 1: What is your name?': { name: 'Ann' },
  'Step 2: What is your favorite color?': { color: 'blue' },
};

/** `more` is what a second application of the same user says of itself. */
async function connect(more: object = {}) {
  const asked: string[] = [];
  const client = new Client(
    { name: 'test-application', version: '2.0.0' },
    {
      capabilities: { elicitation: { form: {} }, sampling: {}, roots: {}, ...more },
      versionNegotiation: { mode: { pin: '2026-07-28' } },
    },
  );
  client.setRequestHandler('elicitation/create', ({ params }) => {
    asked.push(params.message);
    return { action: 'accept', content: CONTENT[params.message] ?? {} };
  });
  client.setRequestHandler('sampling/createMessage', () => {
    asked.push('the model');
    return { role: 'assistant', content: { type: 'text', text: 'Hello' }, model: 'm' };
  });
  client.setRequestHandler('roots/list', () => {
    asked.push('the roots');
    return { roots: [{ uri: 'file:///home/ann' }] };
  });
  const requestInit = { headers: { Authorization: 'Bearer ann.1' } };
  await client.connect(new StreamableHTTPClientTransport(new URL(bridge.url), { requestInit }));
  const call = async (name: string, signal?: AbortSignal) => {
    const { content } = await client.callTool({ name, arguments: {} }, signal && { signal });
    return content.map((item) => (item.type === 'text' ? item.text : '')).join('\n');
  };
  return { client, asked, call, [Symbol.asyncDispose]: () => client.close() };
}

test('user, model and roots are asked at once', async () => {
  await using app = await connect();
  assert.match(
    await app.call('test_input_required_result_multiple_inputs'),
    /Hello.*Ann.*file:\/\/\/home\/ann/,
  );
  assert.deepEqual(new Set(app.asked), new Set(['What is your name?', 'the model', 'the roots']));
});

test('a user is asked twice, one after the other', async () => {
  await using app = await connect();
  assert.match(await app.call('test_input_required_result_multi_round'), /^Ann: .*blue/);
  assert.deepEqual(app.asked, ['Step 1: What is your name?', 'Step 2: What is your favorite color?']);
});

test('a prompt asks, too', async () => {
  await using app = await connect();
  const { prompts } = await app.client.listPrompts();
  const asking = prompts.find(({ name }) => name.includes('input_required'));
  assert.ok(asking !== undefined);
  const { messages } = await app.client.getPrompt({ name: asking.name, arguments: {} });
  assert.ok(messages.length > 0);
  assert.equal(app.asked.length, 1);
});

test('many calls at once that ask each get an answer', async () => {
  await using app = await connect();
  const names = Array.from({ length: 6 }, (_, i) =>
    i % 2 === 0 ? 'test_input_required_result_multi_round' : 'test_input_required_result_multiple_inputs',
  );
  const texts = await Promise.all(names.map((name) => app.call(name)));
  for (const [i, text] of texts.entries()) assert.match(text, i % 2 === 0 ? /blue/ : /file:/, names[i]);
});

test('a call can be cancelled after its first round', async () => {
  await using app = await connect();
  const leave = new AbortController();
  app.client.setRequestHandler('elicitation/create', ({ params }) => {
    app.asked.push(params.message);
    leave.abort();
    return { action: 'accept', content: { name: 'Ann' } };
  });
  await assert.rejects(app.call('test_input_required_result_multi_round', leave.signal));
  assert.equal(app.asked.length, 1);
  assert.match(await app.call('test_input_required_result_sampling'), /Hello/);
});
