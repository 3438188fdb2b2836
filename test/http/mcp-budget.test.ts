/** What is held for one user, in however many sessions. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { type Bridge, startBridge } from '../fixtures/bridge.js';
import { connect } from '../fixtures/client.js';
import { bytesHeld, lazyPost, lengthOf, MIB, request } from '../fixtures/lazy.js';
import { until } from '../fixtures/until.js';

/** More than the system buffers for a connection. */
const LIMIT = 12 * MIB;
const limits = { maxMessageBytes: LIMIT };
const ALMOST = LIMIT - 1024;
const LARGE = request('big', { bytes: ALMOST });
const STREAM = { Accept: 'text/event-stream' };
const JSON_ONLY = { Accept: 'application/json' };

const idIn = (stream: string): string => /^id: (.+)$/m.exec(stream)?.[1] ?? '';

/** Sessions, each with an answer of which its client reads the beginning and then no more. */
async function unreadIn(bridge: Bridge, count: number): Promise<Socket[]> {
  const begin = async () => {
    const socket = await lazyPost(bridge, await connect(bridge.url), LARGE, JSON_ONLY);
    await once(socket.resume(), 'data');
    return socket.pause();
  };
  return Promise.all(Array.from({ length: count }, begin));
}

test('of what the clients of a user have read, four messages of the largest size are kept', async (t) => {
  const most = 4 * MIB;
  await using bridge = await startBridge({
    limits: { maxMessageBytes: most },
    timing: { lingerMs: 60_000 },
  });
  const before = bytesHeld();
  const held = (): number => bytesHeld() - before;
  for (const bearer of ['ann.1', 'bob.1']) {
    for (let session = 1; session <= 5; session += 1) {
      const client = await connect(bridge.url, bearer);
      const response = await client.post(request('big', { bytes: most - 1024 }), STREAM);
      assert.ok((await response.arrayBuffer()).byteLength > most - 1024);
    }
  }
  await until('room', () => held() < 2 * 4 * most + MIB);
  t.diagnostic(`${Math.round(held() / MIB)} MiB are kept`);
  assert.ok(held() > (2 * 4 - 1) * most, 'one user does not take the place of another');
});

test('a large answer that left whole is kept for a moment; a small one, and one that was cut, longer', async () => {
  await using bridge = await startBridge({ limits, timing: { lingerMs: 1 } });
  const client = await connect(bridge.url);
  const ask = async (body: string): Promise<string> => {
    return idIn(await (await client.post(body, STREAM)).text());
  };
  const isKept = async (id: string): Promise<boolean> => {
    const response = await client.get({ 'Last-Event-ID': id });
    await response.body?.cancel();
    return response.status === 200;
  };
  const small = await ask(request('echo', {}));
  const large = await ask(LARGE);
  await until('the end of the large one', async () => !(await isKept(large)));
  assert.ok(await isKept(small));
  const others = await bridge.connections();
  const reader = (await client.post(LARGE, STREAM)).body?.getReader();
  const { value } = (await reader?.read()) ?? {};
  await until('the answer', () => bridge.sessions.counts.calls === 0);
  await reader?.cancel();
  await until('the cut', async () => (await bridge.connections()) < others);
  const cut = idIn(Buffer.from(value ?? []).toString());
  assert.ok(await isKept(cut));
});

test('while the clients of a user have much to read, no session of theirs asks for more, and others do', async () => {
  await using bridge = await startBridge({ limits });
  const [ann, bob] = [await connect(bridge.url), await connect(bridge.url, 'bob.1')];
  const sockets = await unreadIn(bridge, 5);
  const body = request('echo', { late: true });
  let answered = false;
  const late = ann.post(body).then((response) => {
    answered = true;
    return response.text();
  });
  assert.equal((await ann.post('{"jsonrpc":"2.0","method":"notifications/initialized"}')).status, 202);
  assert.deepEqual((await bob.call('echo', { other: 'user' })).result, { other: 'user' });
  assert.equal(answered, false);
  for (const socket of sockets) socket.destroy();
  assert.deepEqual(JSON.parse(await late).result, { late: true });
});

test('who reads waits for those beside who do not, until they are cut off', async () => {
  await using bridge = await startBridge({ limits, timing: { stallMs: 1000, pingMs: 50 } });
  const ann = await connect(bridge.url);
  const sockets = await unreadIn(bridge, 5);
  assert.ok((await (await ann.post(LARGE)).text()).length > ALMOST);
  const lengths = await Promise.all(sockets.map((socket) => lengthOf(socket).catch(() => 0)));
  assert.ok(lengths.some((length) => length < ALMOST));
});
