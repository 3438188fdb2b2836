/** Clients that ask for much and read little, or send much at once: what is held for them stays within bounds. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { connect as dial } from 'node:net';
import { test } from 'node:test';
import { HttpExchange } from '../../src/http/http-exchange.js';
import { EventStream } from '../../src/http/mcp-stream.js';
import { Unread } from '../../src/http/mcp-unread.js';
import { listenHttp } from '../../src/http/server.js';
import { startBridge, UNCONFINED } from '../fixtures/bridge.js';
import { connect, jsonOf } from '../fixtures/client.js';
import { bytesHeld, lengthOf, MIB, lazyPost as post, request, settled } from '../fixtures/lazy.js';
import { modernBody, modernClient, modernHeaders } from '../fixtures/modern-client.js';
import { until } from '../fixtures/until.js';

const LIMIT = 4 * MIB;

for (const [form, accept] of [
  ['answers', 'application/json'],
  ['event streams', 'text/event-stream'],
] as const) {
  test(`of twenty large ${form} that nobody reads a few are held, and the child waits with the others`, async (t) => {
    // The server holds what it could not write yet, several times over.
    const limits = { ...UNCONFINED.limits, memoryBytes: 4096 * MIB };
    await using bridge = await startBridge({ timing: { resumeMs: 1 }, containment: { limits } });
    const client = await connect(bridge.url);
    const calls = () => bridge.sessions.counts.calls;
    const before = bytesHeld();
    const body = request('big', { bytes: 12 * MIB });
    const sockets = await Promise.all(
      Array.from({ length: 20 }, () => post(bridge, client, body, { Accept: accept })),
    );
    await until('the calls', () => calls() === 20);
    await until('the first answer', () => calls() < 20);
    await settled(calls);
    const held = Math.round((bytesHeld() - before) / MIB);
    t.diagnostic(`${held} MiB are held, ${calls()} calls wait`);
    assert.ok(calls() >= 15);
    assert.ok(held < 48, `${held} MiB are held`);
    for (const socket of sockets) socket.destroy();
    await until('the end', () => calls() === 0);
    assert.deepEqual((await client.call('echo', { still: 'here' })).result, { still: 'here' });
    await until('room again', () => bytesHeld() - before < 20 * MIB);
  });
}

test("of thirty large answers to modern requests that nobody reads a few are held, for they are one user's", async (t) => {
  const limits = { ...UNCONFINED.limits, memoryBytes: 4096 * MIB };
  await using bridge = await startBridge({ containment: { limits } });
  const params = { name: 'big', arguments: { bytes: 12 * MIB } };
  const client = { headers: { Authorization: 'Bearer ann.1', ...modernHeaders('tools/call', params) } };
  const calls = () => bridge.sessions.counts.calls;
  const before = bytesHeld();
  const sockets = await Promise.all(
    Array.from({ length: 30 }, () => post(bridge, client, modernBody('tools/call', params))),
  );
  await until('the calls', () => calls() === 30);
  await until('the first answer', () => calls() < 30);
  await settled(calls);
  const held = Math.round((bytesHeld() - before) / MIB);
  t.diagnostic(`${held} MiB are held, ${calls()} calls wait`);
  assert.ok(calls() >= 15);
  assert.ok(held < 112, `${held} MiB are held`);
  for (const socket of sockets) socket.destroy();
  await until('the end', () => calls() === 0);
  assert.equal((await modernClient(bridge.url).tool('whoami')).error, undefined);
});

test('what waited for its client comes whole, once it reads', async () => {
  await using bridge = await startBridge();
  const client = await connect(bridge.url);
  const body = request('big', { bytes: 12 * MIB });
  const sockets = await Promise.all(
    Array.from({ length: 5 }, () => post(bridge, client, body, { Connection: 'close' })),
  );
  await until('two answers', () => bridge.sessions.counts.calls === 3);
  const lengths = await Promise.all(sockets.map(lengthOf));
  assert.ok(lengths.every((length) => length > 12 * MIB));
});

for (const [form, accept] of [
  ['a JSON answer', 'application/json'],
  ['an event stream', 'text/event-stream'],
] as const) {
  test(`a client that reads nothing of ${form} is cut off`, async () => {
    await using bridge = await startBridge({ timing: { stallMs: 300, pingMs: 50 } });
    const client = await connect(bridge.url);
    const others = await bridge.connections();
    const socket = await post(bridge, client, request('big', { bytes: 12 * MIB }), { Accept: accept });
    await until('the request', async () => (await bridge.connections()) > others);
    // Without reading, the client does not see it.
    await until('the cut', async () => (await bridge.connections()) === others);
    assert.ok((await lengthOf(socket).catch(() => 0)) < 12 * MIB);
  });

  test(`a client that reads ${form} slowly gets it whole`, async () => {
    const stallMs = 1000;
    await using bridge = await startBridge({ timing: { stallMs, pingMs: 50 } });
    const client = await connect(bridge.url);
    const socket = await post(bridge, client, request('big', { bytes: 12 * MIB }), {
      Accept: accept,
      Connection: 'close',
    });
    const before = Date.now();
    let length = 0;
    socket.on('data', (chunk: Buffer) => {
      length += chunk.length;
      socket.pause();
      setTimeout(() => socket.resume(), 20);
    });
    socket.resume();
    await once(socket, 'close');
    assert.ok(length > 12 * MIB);
    assert.ok(Date.now() - before > 2 * stallMs, 'it took longer than a client may read nothing');
  });
}

test('what a socket has taken but not passed on counts as unread', async () => {
  const unread = new Unread(0);
  const listener: RequestListener = (request, response) => {
    const http = new HttpExchange(request, response, '/', {
      headers: [],
      count: () => undefined,
      fail: () => undefined,
    });
    const stream = new EventStream({
      http,
      pingMs: 60_000,
      stallMs: 60_000,
      unread,
      onGone: () => undefined,
    });
    void stream.send(Buffer.alloc(12 * MIB, ' '));
  };
  await using server = await listenHttp(
    listener,
    { kind: 'tcp', host: '127.0.0.1', port: 0 },
    { idleMs: 60_000 },
  );
  const socket = dial(server.port ?? 0, '127.0.0.1').pause();
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await until('the stream', () => unread.bytes > 12 * MIB);
  // Only part of it fits into what the system buffers.
  await settled(() => unread.bytes);
  assert.ok(unread.bytes > 4 * MIB, `${unread.bytes}`);
  socket.resume();
  await until('the end of reading', () => socket.bytesRead > 12 * MIB);
  socket.destroy();
  await until('nothing unread', () => unread.bytes === 0);
});

test('a user has four bodies of the largest size under way at most; the next is told to try again', async () => {
  await using bridge = await startBridge({ limits: { maxMessageBytes: LIMIT } });
  const [ann, bob] = [await connect(bridge.url), await connect(bridge.url, 'bob.1')];
  const whole = Buffer.from(request('echo', { text: 'x'.repeat(LIMIT - 100) }));
  /** A body that begins. The server says when it is ready for the rest, which does not come. */
  const begin = async () => {
    const headers = { 'Content-Length': whole.length, Expect: '100-continue' };
    const socket = await post(bridge, ann, '{', headers);
    const [heard] = (await once(socket.resume(), 'data')) as [Buffer];
    assert.match(heard.toString(), /^HTTP\/1.1 100 /);
    return socket;
  };
  const waiting = [await begin(), await begin(), await begin(), await begin()];
  const refused = await ann.post(whole);
  assert.equal(refused.status, 503);
  assert.equal(refused.headers.get('retry-after'), '1');
  const { id, error } = await jsonOf(refused);
  assert.deepEqual([id, error.code], [null, -32000]);
  assert.equal((await bob.post(whole)).status, 200, 'others are not concerned');
  assert.deepEqual((await ann.call('echo', {})).error, undefined, 'small messages still pass');
  const chunked = await fetch(bridge.url, {
    method: 'POST',
    headers: { ...ann.headers, 'Content-Type': 'application/json' },
    body: new Blob([whole]).stream(),
    duplex: 'half',
  });
  assert.equal(chunked.status, 503);
  await chunked.arrayBuffer();
  for (const socket of waiting) socket.destroy();
  await until('room again', async () => {
    const response = await ann.post(whole);
    await response.arrayBuffer();
    return response.status === 200;
  });
});
