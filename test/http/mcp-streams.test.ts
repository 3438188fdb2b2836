/** What a child says of its own accord: which stream it leaves through, and what happens to streams nobody reads. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { after, before, test } from 'node:test';
import { type Bridge, startBridge } from '../fixtures/bridge.js';
import {
  BOTH,
  type Client,
  connect,
  eventsOf,
  initializeBody,
  JSON_TYPE,
  jsonOf,
  messagesOf,
  nextEvent,
} from '../fixtures/client.js';
import { until } from '../fixtures/until.js';

const ABLE = { sampling: {}, elicitation: {}, roots: {} };

let bridge: Bridge;
before(async () => {
  bridge = await startBridge({ timing: { pingMs: 50, stallMs: 500 } });
});
after(() => bridge[Symbol.asyncDispose]());

const able = () => connect(bridge.url, 'ann.1', initializeBody('2025-11-25', ABLE));

test('GET opens a stream that begins at once, and is kept open by comments', async () => {
  const client = await connect(bridge.url, 'ann.1', initializeBody('2025-06-18'));
  const abort = new AbortController();
  const response = await client.get({}, abort.signal);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'text/event-stream');
  assert.equal(response.headers.get('x-accel-buffering'), 'no');
  let text = '';
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString();
    if (text.length >= 3 * ': ping\n\n'.length) break;
  }
  assert.match(text, /^(: ping\n\n)+$/);
});

test('a newer GET stream takes the place of the older', async () => {
  const client = await able();
  const older = await client.get();
  const abort = new AbortController();
  const newer = eventsOf(await client.get({}, abort.signal));
  assert.deepEqual(await messagesOf(older), []);
  await client.call('notify', { method: 'notifications/tools/list_changed', note: 1 });
  assert.equal((await nextEvent(newer)).params?.note, 1);
  abort.abort();
});

test('list_changed goes to the GET stream if there is one, else to a call in flight, else it waits', async () => {
  const client = await able();
  const notify = { method: 'notifications/tools/list_changed' };
  const params = (note: number) =>
    JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'notify', params: { ...notify, note } });
  const onCall = await messagesOf(await client.post(params(1)));
  assert.deepEqual(
    onCall.map(({ params: about }) => about?.note),
    [1, undefined],
  );
  for (const note of [2, 3]) {
    const jsonOnly = await client.post(params(note), { Accept: 'application/json' });
    assert.deepEqual(await jsonOnly.json(), { jsonrpc: '2.0', id: 1, result: {} });
  }
  const abort = new AbortController();
  const stream = eventsOf(await client.get({}, abort.signal));
  assert.equal((await nextEvent(stream)).params?.note, 2);
  assert.equal((await nextEvent(stream)).params?.note, 3);
  assert.deepEqual((await messagesOf(await client.post(params(4)))).length, 1);
  assert.equal((await nextEvent(stream)).params?.note, 4);
  abort.abort();
});

test('log messages go to the newest call in flight, else to the GET stream, else nowhere', async () => {
  const client = await able();
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'flood', params: { count: 2, bytes: 1 } });
  assert.equal((await messagesOf(await client.post(body))).length, 3);
  await (await client.post(body, { Accept: 'application/json' })).arrayBuffer();
  const abort = new AbortController();
  const stream = eventsOf(await client.get({}, abort.signal));
  await (await client.post(body, { Accept: 'application/json' })).arrayBuffer();
  await client.call('notify', { method: 'notifications/resources/updated', note: 'end' });
  const seen = [await nextEvent(stream), await nextEvent(stream), await nextEvent(stream)];
  assert.deepEqual(
    seen.map(({ method }) => method?.split('/').at(-1)),
    ['message', 'message', 'updated'],
  );
  abort.abort();
});

for (const method of ['sampling/createMessage', 'elicitation/create', 'roots/list', 'ping']) {
  test(`${method} of the child reaches the client through the call, and the answer the child`, async () => {
    const client = await able();
    const body = JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'ask',
      params: { method, params: { big: 1 } },
    });
    const events = eventsOf(await client.post(body));
    const question = await nextEvent(events);
    assert.equal(question.method, method);
    assert.ok(Number(question.id) < 100, 'the id is ours, not that of the child');
    const answer = `{"jsonrpc":"2.0","id":${question.id},"result":{"exact":1.0}}`;
    assert.equal((await client.post(answer)).status, 202);
    assert.equal((await client.post(answer)).status, 202, 'a second answer is dropped');
    const { result } = await nextEvent(events);
    assert.deepEqual(result.heard, { jsonrpc: '2.0', id: 101, result: { exact: 1 } });
  });
}

test('a question waits for a stream if there is none', async () => {
  const client = await able();
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'wonder', params: { method: 'roots/list' } });
  await (await client.post(body, { Accept: 'application/json' })).arrayBuffer();
  const next = await messagesOf(await client.post('{"jsonrpc":"2.0","id":2,"method":"ping"}'));
  assert.deepEqual(
    next.map(({ method, id }) => method ?? id),
    ['roots/list', 2],
  );
});

test('a client is not asked for what it did not declare, and a ping that nobody hears is answered here', async () => {
  const client = await connect(bridge.url);
  const ask = async (method: string) => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ask', params: { method } });
    const response = await client.post(body, { Accept: 'application/json' });
    return (await jsonOf(response)).result.heard;
  };
  for (const method of ['sampling/createMessage', 'elicitation/create', 'roots/list']) {
    assert.equal((await ask(method)).error.code, -32601, method);
  }
  assert.deepEqual((await ask('ping')).result, {});
});

/** A client that sends a request and then does not read what comes. */
async function lazyPost(client: Client, body: string): Promise<IncomingMessage> {
  const request = httpRequest(bridge.url, {
    method: 'POST',
    headers: { ...JSON_TYPE, ...BOTH, ...client.headers },
  });
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.on('error', () => undefined).pause();
  return response;
}

test('a client that does not read its stream is cut off, and the session goes on', async () => {
  const client = await able();
  const flood = { count: 30_000, bytes: 1024 };
  const lazy = await lazyPost(
    client,
    JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'flood', params: flood }),
  );
  await until('the cut', () => bridge.sessions.counts.calls === 0, 60_000);
  lazy.resume();
  await assert.rejects(once(lazy, 'end'));
  assert.deepEqual((await client.call('echo', { still: 'here' })).result, { still: 'here' });
});

test('a server that talks faster than its client reads waits for it, and nothing is lost', async () => {
  const client = await able();
  const count = 20_000;
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'flood', params: { count, bytes: 1024 } });
  let seen = 0;
  for await (const event of eventsOf(await client.post(body))) seen += event.method === undefined ? 0 : 1;
  assert.equal(seen, count);
});

test('a client that reads late gets a large answer whole', async () => {
  const client = await able();
  const bytes = 12 * 1024 * 1024;
  const lazy = await lazyPost(
    client,
    JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'big', params: { bytes } }),
  );
  await until('the answer', () => bridge.sessions.counts.calls === 0);
  let length = 0;
  for await (const chunk of lazy) length += chunk.length;
  assert.ok(length > bytes);
});

test('closing a session ends its streams', async () => {
  const client = await able();
  const stream = await client.get();
  await fetch(bridge.url, { method: 'DELETE', headers: client.headers });
  assert.deepEqual(await messagesOf(stream), []);
});
