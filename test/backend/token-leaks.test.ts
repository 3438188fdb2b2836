/** A server that repeats its token in every way and place: no byte of it reaches its client or the operator's log. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Secret } from '../../src/base/secret.js';
import { access, type Bridge, FIXTURES, startBridge } from '../fixtures/bridge.js';
import { type Client, connect, initializeBody } from '../fixtures/client.js';
import { findToken, JWT, SPELLINGS } from '../fixtures/spelled.js';
import { until } from '../fixtures/until.js';

const COUNT = Object.keys(SPELLINGS).length;
const args = [join(FIXTURES, 'echoing-server.js'), '--as', `\${user.login}`];

let bridge: Bridge;
let client: Client;
before(async () => {
  let time = 0;
  bridge = await startBridge({
    servers: [{ name: 'main', command: process.execPath, args, env: {}, protocol: 'legacy' }],
    upstream: () => ({ ...access(), token: new Secret(JWT) }),
    limits: { requestMs: 1e9, childIdleMs: 1e9, sessionMs: 1e9 },
    // A second a look, so that no line of stderr is dropped for coming too fast.
    now: () => (time += 1000),
  });
  client = await connect(bridge.url, 'ann.1', initializeBody('2025-11-25', { sampling: {} }));
});
after(() => bridge[Symbol.asyncDispose]());

const post = async (method: string): Promise<string> =>
  (await client.post(JSON.stringify({ jsonrpc: '2.0', id: 1, method }))).text();
const dataOf = (text: string): unknown[] =>
  [...text.matchAll(/^data: (.+)$/gm)].map(([, data]) => JSON.parse(data ?? ''));
const stderr = (): string[] =>
  bridge.events.filter(({ event }) => event === 'child.stderr').map(({ fields }) => String(fields.text));
const redactions = (text: string): number => text.split('[redacted]').length - 1;

test('the answer to initialize is without it', async () => {
  const opened = await fetch(bridge.url, {
    method: 'POST',
    headers: { ...client.headers, 'Content-Type': 'application/json', 'Mcp-Session-Id': '' },
    body: initializeBody(),
  });
  const text = await opened.text();
  assert.equal(JSON.parse(text).result?.serverInfo.name, '[redacted]');
  assert.equal(findToken(text, JWT), undefined);
});

test('answers, notifications and requests are without it, under whatever names, keys and ids', async () => {
  const stream = new AbortController();
  const listening = await client.get({}, stream.signal);
  const text = await post('answer');
  const messages = dataOf(text) as { method?: string; result?: object; id?: unknown }[];
  const asked = messages.filter(({ method }) => method === 'sampling/createMessage');
  assert.equal(asked.length, COUNT);
  assert.ok(asked.every(({ id }) => typeof id === 'number'));
  assert.deepEqual(Object.keys(messages.at(-1)?.result ?? {}), ['content', '[redacted]']);
  assert.ok(redactions(text) >= 4 * COUNT, text);
  assert.equal(findToken(text, JWT), undefined);
  let streamed = '';
  for await (const chunk of listening.body ?? []) {
    streamed += Buffer.from(chunk).toString();
    if (streamed.split('notifications/').length - 1 >= COUNT) break;
  }
  stream.abort();
  assert.equal(findToken(streamed, JWT), undefined);
  assert.ok(redactions(streamed) >= COUNT, streamed);
});

test('errors are without it, in message and data', async () => {
  const text = await post('fail');
  const { error } = JSON.parse(text);
  assert.equal(error.data.length, COUNT);
  assert.equal(redactions(error.message), COUNT);
  assert.equal(findToken(text, JWT), undefined);
});

test('it is found in lines that come a few bytes at a time', async () => {
  const text = await post('trickle');
  assert.equal(redactions(text), 4);
  assert.equal(findToken(text, JWT), undefined);
});

test('stderr is without it where lines are cut, skipped or wrapped', async () => {
  const before = stderr().length;
  await post('log');
  const wrapped = Math.ceil(JWT.length / 80);
  await until('the log', () => stderr().filter((line) => line.endsWith('client.py:17')).length === wrapped);
  const lines = stderr().slice(before);
  assert.ok(lines.includes('[line too long]'));
  assert.ok(lines.some((line) => line.startsWith('xxx') && line.includes('[redacted]')));
  assert.equal(lines.filter((line) => line === '    [redacted]  client.py:17').length, wrapped);
  assert.equal(findToken(JSON.stringify(lines), JWT), undefined);
});

test('the last words of a server that dies are without it, half a line too, and so is the error they explain', async () => {
  const text = await post('die');
  assert.match(text, /exit code 1/);
  const ended = bridge.events.find(({ event }) => event === 'child.ended');
  const words = ended?.fields.lastWords as string[];
  assert.deepEqual(words.slice(-3), [
    'FATAL: connection test failed: [sha: [redacted]]',
    'FATAL: [redacted]',
    'trace: [redacted]',
  ]);
});

test('the whole log is without it', () => {
  assert.equal(findToken(JSON.stringify(bridge.events), JWT), undefined);
});

test('no argument holds it', { skip: process.platform !== 'linux' }, async () => {
  await post('fail');
  const pids = bridge.events.filter(({ event }) => event === 'child.started').map(({ fields }) => fields.pid);
  const of = (file: string) => readFileSync(`/proc/${pids.at(-1)}/${file}`, 'latin1');
  assert.equal(of('cmdline'), `${[process.execPath, args[0], '--as', 'ann'].join('\0')}\0`);
  assert.ok(of('environ').includes(`FORGEJO_ACCESS_TOKEN=${JWT}\0`), 'it is the child that has the token');
});
