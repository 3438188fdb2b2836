/** Calls through the MCP endpoint to real children: nothing crosses, nothing is lost, nothing is changed. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { type Bridge, startBridge, TOKEN } from '../fixtures/bridge.js';
import { type Client, connect, initializeBody, jsonOf, messagesOf } from '../fixtures/client.js';
import { valueText } from '../fixtures/json-text.js';
import { until } from '../fixtures/until.js';

let bridge: Bridge;
let client: Client & { readonly sessionId: string };
before(async () => {
  bridge = await startBridge();
  client = await connect(bridge.url);
});
after(() => bridge[Symbol.asyncDispose]());

const received = async (from: Client = client): Promise<string[]> =>
  (await from.call('received')).result.received;

test('fifty parallel requests with the same id each get their own answer, in whatever order they come', async () => {
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, mine) => client.call('hold', { count: 50, mine }, 1)),
  );
  assert.deepEqual(
    answers,
    Array.from({ length: 50 }, (_, mine) => ({ jsonrpc: '2.0', id: 1, result: { mine } })),
  );
});

test('ids come back as they were written, and the child sees fresh integers', async () => {
  for (const id of ['1', '"1"', '0', '-7', '1.0', '1e2', '"ü\\u00fc"', '12345678901234567890', '""']) {
    const response = await client.post(`{"jsonrpc":"2.0","id": ${id} ,"method":"ping"}`);
    assert.equal(await response.text(), `{"jsonrpc":"2.0","id":${id},"result":{}}`);
  }
  const ids = (await received()).map((line) => JSON.parse(line).id).filter((id) => id !== undefined);
  assert.ok(ids.every(Number.isInteger));
  assert.equal(new Set(ids).size, ids.length);
});

test('params reach the child and results the client byte for byte', async () => {
  const oneLine = valueText.map((text) => text.replace(/[\r\n]/g, ' '));
  await fc.assert(
    fc.asyncProperty(oneLine, async (text) => {
      const response = await client.post(`{"jsonrpc":"2.0","id":1,"method":"echo","params":${text}}`);
      assert.equal(await response.text(), `{"jsonrpc":"2.0","id":1,"result":${text}}`);
    }),
    { numRuns: 200 },
  );
});

test('no line break from outside reaches the input of the child', async () => {
  const spread = '{\r\n"jsonrpc":"2.0",\n"id":1,\r"method":"echo","params":{"a":\n[1,\n2]}\n}\n';
  const response = await client.post(spread);
  assert.deepEqual(await response.json(), { jsonrpc: '2.0', id: 1, result: { a: [1, 2] } });
  assert.deepEqual((await client.call('echo', { still: 'here' })).result, { still: 'here' });
});

test('twelve MiB pass both ways', async () => {
  const text = 'ä'.repeat(6 * 1024 * 1024);
  const there = await client.call('echo', { text });
  assert.ok(there.result.text === text);
  const back = await client.call('big', { bytes: 12 * 1024 * 1024 });
  assert.equal(back.result.text.length, 12 * 1024 * 1024);
});

test('a character that the child writes in pieces arrives whole', async () => {
  const text = 'Ä€😀 äöü';
  assert.equal((await client.call('trickle', { text })).result.text, text);
});

test('noise on stdout is skipped, and told to the operator sparsely', async () => {
  bridge.events.length = 0;
  assert.deepEqual((await client.call('noise')).result, {});
  assert.equal(
    bridge.events.filter(({ event }) => event === 'child.noise').length,
    3,
    '1st, 2nd and 4th of five',
  );
});

test('the upstream token leaves in no answer and in no log', async () => {
  bridge.events.length = 0;
  const response = await client.post('{"jsonrpc":"2.0","id":1,"method":"leak"}');
  const text = await response.text();
  assert.match(text, /401: \[redacted\] \[redacted\]/);
  assert.ok(!text.includes(TOKEN) && !text.includes(encodeURIComponent(TOKEN)));
  await until('the line on stderr', () => bridge.events.some(({ event }) => event === 'child.stderr'));
  assert.ok(!JSON.stringify(bridge.events).includes(TOKEN));
  assert.match(JSON.stringify(bridge.events), /token is \[redacted\], see\?/);
});

test('progress comes before its answer, on its own stream, under the token of the client', async () => {
  const call = async (progressToken: unknown) => {
    const params = { steps: 3, _meta: { progressToken } };
    const response = await client.post(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'progress', params }));
    assert.equal(response.headers.get('content-type'), 'text/event-stream');
    return (await messagesOf(response)).map(({ method, params: about, id }) =>
      method ? about?.progressToken : `id ${id}`,
    );
  };
  const results = await Promise.all(['a', 'a', 7, '7'].map(call));
  assert.deepEqual(results, [
    ['a', 'a', 'a', 'id 1'],
    ['a', 'a', 'a', 'id 1'],
    [7, 7, 7, 'id 1'],
    ['7', '7', '7', 'id 1'],
  ]);
});

test('a client that accepts JSON only gets its answer as JSON, without the progress', async () => {
  const params = { steps: 3, _meta: { progressToken: 1 } };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'progress', params });
  const response = await client.post(body, { Accept: 'application/json' });
  assert.deepEqual(await response.json(), { jsonrpc: '2.0', id: 1, result: { steps: 3 } });
});

test('an answer that takes its time comes as an event stream that begins at once with a comment', async () => {
  await using quick = await startBridge({ timing: { decideAfterMs: 20 } });
  const patient = await connect(quick.url, 'ann.1', initializeBody('2025-06-18'));
  const response = await patient.post('{"jsonrpc":"2.0","id":1,"method":"later","params":{"ms":600}}');
  assert.equal(response.headers.get('content-type'), 'text/event-stream');
  assert.equal(response.headers.get('cache-control'), 'no-cache, no-transform');
  assert.equal(response.headers.get('x-accel-buffering'), 'no');
  assert.equal(await response.text(), ': ping\n\ndata: {"jsonrpc":"2.0","id":1,"result":{"waited":600}}\n\n');
});

test('a cancellation reaches the child under the id the child knows, and ends the exchange without an answer', async () => {
  const cancelling = await connect(bridge.url);
  const waiting = cancelling.post('{"jsonrpc":"2.0","id":"w","method":"never"}');
  await until('the call', () => bridge.sessions.counts.calls === 1);
  await cancelling.post(
    '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"ü","requestId":"w"}}',
  );
  assert.deepEqual(await messagesOf(await waiting), []);
  const lines = await received(cancelling);
  const id = lines.map((line) => JSON.parse(line)).find(({ method }) => method === 'never')?.id;
  assert.ok(
    lines.includes(
      `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"ü","requestId":${id}}}`,
    ),
  );
});

test('a cancellation that could mean several calls is not passed on', async () => {
  const ambiguous = await connect(bridge.url);
  const calls = [1, 2].map((mine) => ambiguous.call('hold', { count: 3, mine }, 'same'));
  await until('the calls', () => bridge.sessions.counts.calls === 2);
  await ambiguous.post('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"same"}}');
  await ambiguous.call('hold', { count: 3, mine: 3 }, 'other');
  assert.deepEqual(
    (await Promise.all(calls)).map(({ result }) => result.mine),
    [1, 2],
  );
  assert.ok(!(await received(ambiguous)).join().includes('notifications/cancelled'));
});

test('a client that disconnects cancels what it asked, and nothing else', async () => {
  await using quick = await startBridge({ timing: { decideAfterMs: 20 } });
  // What later versions do with a stream is told in mcp-resume.test.ts.
  const leaving = await connect(quick.url, 'ann.1', initializeBody('2025-06-18'));
  const kept = leaving.call('hold', { count: 2, mine: 'kept' }, 1);
  for (const method of ['never', 'later'] as const) {
    const abort = new AbortController();
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: { ms: 60_000 } });
    const headers = {
      ...leaving.headers,
      'Content-Type': 'application/json',
      Accept: 'application/json, text/event-stream',
    };
    const gone = fetch(quick.url, { method: 'POST', headers, body, signal: abort.signal });
    await until('the call', () => quick.sessions.counts.calls === 2);
    // Once before there is an answer, once from an open event stream.
    if (method === 'later') await gone;
    abort.abort();
    await (method === 'later' ? gone.then((response) => response.text()) : gone).catch(() => undefined);
    await until('the cancellation', () => quick.sessions.counts.calls === 1);
  }
  await leaving.call('hold', { count: 2, mine: 'last' }, 1);
  assert.equal((await kept).result.mine, 'kept');
  const lines = (await received(leaving)).map((line) => JSON.parse(line));
  const ids = lines.filter(({ method }) => method === 'never' || method === 'later').map(({ id }) => id);
  const cancelled = lines.filter(({ method }) => method === 'notifications/cancelled');
  assert.deepEqual(
    cancelled.map(({ params }) => params.requestId),
    ids,
  );
});

test('two users and two sessions of one user have processes of their own', async () => {
  const all = await Promise.all([
    connect(bridge.url, 'ann.1'),
    connect(bridge.url, 'ann.1'),
    connect(bridge.url, 'bob.1'),
  ]);
  const pids = await Promise.all(all.map(async (one) => (await one.call('whoami')).result.pid));
  assert.equal(new Set(pids).size, 3);
});

test('a child sees the environment of its plan, and an empty folder of its own', async () => {
  const { env, cwd } = (await client.call('whoami')).result;
  assert.deepEqual(
    Object.keys(env)
      .filter((name) => !name.startsWith('__CF'))
      .toSorted((a, b) => a.localeCompare(b)),
    ['FIXTURE', 'FORGEJO_ACCESS_TOKEN', 'FORGEJO_URL', 'HOME', 'LANG', 'PATH'],
  );
  assert.equal(env.FORGEJO_ACCESS_TOKEN, '[redacted]');
  assert.ok(cwd.endsWith(env.HOME));
});

test('an initialize that the server refuses is passed on, and leaves no session', async () => {
  await using refusing = await startBridge({ traits: 'refuses' });
  const response = await fetch(refusing.url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: 'Bearer ann.1' },
    body: initializeBody(),
  });
  assert.equal(response.headers.get('mcp-session-id'), null);
  assert.deepEqual(await response.json(), { jsonrpc: '2.0', id: 0, error: { code: -32602, message: 'no' } });
  await until('an empty house', () => refusing.sessions.counts.children === 0);
  assert.equal(refusing.sessions.counts.sessions, 0);
});

test('a batch is for sessions of 2025-03-26, and is answered as one', async () => {
  const old = await connect(bridge.url, 'ann.1', initializeBody('2025-03-26'));
  const call = (id: unknown, method: string, params: object = {}) => ({ jsonrpc: '2.0', id, method, params });
  const batch = [
    call(1, 'echo', { a: 1 }),
    { jsonrpc: '2.0', method: 'notifications/roots/list_changed' },
    call(1, 'echo', { b: 2 }),
    { jsonrpc: '2.0', id: 5, result: {} },
  ];
  const response = await old.post(JSON.stringify(batch));
  assert.equal(response.headers.get('content-type'), 'application/json');
  assert.deepEqual(await response.json(), [
    { jsonrpc: '2.0', id: 1, result: { a: 1 } },
    { jsonrpc: '2.0', id: 1, result: { b: 2 } },
  ]);
  const single = await old.post(JSON.stringify([call(9, 'ping')]));
  assert.deepEqual(await single.json(), [{ jsonrpc: '2.0', id: 9, result: {} }]);
  const streamed = await old.post(
    JSON.stringify([call(1, 'ping'), call(2, 'progress', { steps: 1, _meta: { progressToken: 1 } })]),
  );
  assert.equal(streamed.headers.get('content-type'), 'text/event-stream');
  assert.deepEqual(
    (await messagesOf(streamed)).map(({ id }) => id),
    [1, undefined, 2],
  );
  const large = JSON.stringify([1, 2, 3, 4].map((id) => call(id, 'big', { bytes: 600_000 })));
  const collected = await old.post(large, { Accept: 'application/json' });
  assert.equal(collected.headers.get('content-type'), 'text/event-stream', 'so much is not collected');
  assert.equal((await messagesOf(collected)).length, 4);
  assert.equal((await old.post(JSON.stringify([batch[1], batch[3]]))).status, 202);
  for (const body of ['[]', '[7]', JSON.stringify([batch[0], {}]), `[${initializeBody()}]`]) {
    const refused = await old.post(body);
    assert.equal(refused.status, 400, body);
    assert.equal((await jsonOf(refused)).error.code, -32600, body);
  }
  const newer = await client.post(JSON.stringify(batch));
  assert.equal(newer.status, 400);
  assert.equal((await jsonOf(newer)).error.code, -32600);
});
