/** The fixture that stands for forgejo-mcp, held to what the real one does where a broker could notice. */
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { StandInForgejo } from '../../src/demo/forgejo/forgejo.js';
import { startForgejo } from '../support/forgejo.js';

const file = fileURLToPath(new URL('../fixtures/fake-forgejo-mcp.js', import.meta.url));

function start(env: NodeJS.ProcessEnv): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [file, '--transport', 'stdio'], { env });
}

function startAs(forgejo: StandInForgejo, token: string): ChildProcessWithoutNullStreams {
  return start({ FORGEJO_URL: forgejo.url, FORGEJO_ACCESS_TOKEN: token });
}

/** Sends requests, numbered from 1, and gives the answers in the order they come. */
async function ask(child: ChildProcessWithoutNullStreams, ...requests: readonly object[]) {
  const answers: Array<{ id: unknown; result?: unknown; error?: { code: number; message: string } }> = [];
  for (const [index, request] of requests.entries()) {
    child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id: index + 1, ...request })}\n`);
  }
  for await (const line of createInterface({ input: child.stdout })) {
    answers.push(JSON.parse(line));
    if (answers.length === requests.length) break;
  }
  return answers;
}

const call = (name: string, args: object = {}) => ({
  method: 'tools/call',
  params: { name, arguments: args },
});

async function collectEnd(child: ChildProcessWithoutNullStreams) {
  const text = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].on('data', (chunk) => {
      text[stream] += chunk;
    });
  }
  const [code] = await once(child, 'close');
  return { code, ...text };
}

test('it asks for the version twice before it reads its input', async () => {
  await using forgejo = await startForgejo();
  const child = startAs(forgejo, forgejo.control.createAccessToken('alice', ['read:user']));
  const [first] = await ask(child, {
    method: 'initialize',
    params: { protocolVersion: '2025-06-18' },
  });
  assert.equal(forgejo.faults.count('/api/v1/version'), 2);
  assert.deepEqual(first?.result, {
    protocolVersion: '2025-06-18',
    capabilities: { logging: {}, resources: {}, tools: { listChanged: true } },
    serverInfo: { name: 'Forgejo MCP Server', version: '2.34.1' },
  });
  child.stdin.end();
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});

test('a bad token ends it with 1, nothing on stdout, and the token in its stderr', async () => {
  await using forgejo = await startForgejo();
  const end = await collectEnd(startAs(forgejo, 'deadbeef'));
  assert.equal(end.code, 1);
  assert.equal(end.stdout, '');
  assert.match(end.stderr, /FATAL.*connection test failed: create forgejo client: /);
  assert.match(end.stderr, /access token does not exist \[sha: deadbeef\]/);
});

test('without a URL it names the missing configuration and exits with 1', async () => {
  const end = await collectEnd(start({}));
  assert.equal(end.code, 1);
  assert.match(end.stderr, /FATAL.*Missing required configuration/);
});

test("an empty token falls back to the operator's GITEA_ACCESS_TOKEN", async () => {
  await using forgejo = await startForgejo();
  const operators = forgejo.control.createAccessToken('bob', ['read:user']);
  const env = { FORGEJO_URL: forgejo.url, FORGEJO_ACCESS_TOKEN: '', GITEA_ACCESS_TOKEN: operators };
  const child = start(env);
  const [answer] = await ask(child, call('get_my_user_info'));
  assert.match(JSON.stringify(answer?.result), /\\"login\\":\\"bob\\"/);
  child.kill();
});

test('with no token at all it starts anonymously', async () => {
  await using forgejo = await startForgejo();
  const child = start({ FORGEJO_URL: forgejo.url });
  const [answer] = await ask(child, call('get_my_user_info'));
  assert.deepEqual(answer?.error, { code: -32603, message: 'get user info err: token is required' });
  child.kill();
});

test('tool calls overtake each other, and all of them are answered before it ends', async () => {
  await using forgejo = await startForgejo();
  const child = startAs(forgejo, forgejo.control.createAccessToken('alice', ['read:user']));
  const answering = ask(child, call('slow', { ms: 300 }), call('slow', { ms: 1 }), { method: 'ping' });
  child.stdin.end();
  assert.deepEqual(
    (await answering).map(({ id }) => id),
    [3, 2, 1],
  );
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});

test('a tool call with an expired token is an error that repeats the token', async () => {
  await using forgejo = await startForgejo();
  const token = forgejo.control.createAccessToken('alice', ['read:user']);
  const child = startAs(forgejo, token);
  await ask(child, { method: 'ping' });
  forgejo.control.deleteAccessToken(token);
  child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id: 9, ...call('get_my_user_info') })}\n`);
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const { error } = JSON.parse(line);
  assert.equal(error.code, -32603);
  assert.ok(error.message.startsWith('get user info err: '));
  assert.ok(error.message.includes(token));
  child.kill();
});

test('a panic answers to nobody, an unknown tool and an unknown method to their caller', async () => {
  await using forgejo = await startForgejo();
  const child = startAs(forgejo, forgejo.control.createAccessToken('alice', ['read:user']));
  const answers = await ask(child, { method: 'prompts/list' }, call('nonsense'), call('panic'));
  assert.deepEqual(
    answers.map(({ id, error }) => [id, error?.code]),
    [
      [1, -32601],
      [2, -32602],
      [null, -32603],
    ],
  );
  child.kill();
});
