/** Sessions outlive their children: what the client notices, and what it does not. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import type { UpstreamFault } from '../../src/backend/launch.js';
import { access, type Bridge, type BridgeOptions, fixtureEntry, startBridge } from '../fixtures/bridge.js';
import {
  type Answer,
  type Client,
  clientOf,
  connect,
  initializeBody,
  jsonOf,
  messagesOf,
} from '../fixtures/client.js';
import { memorySessionStore } from '../fixtures/session-store.js';
import { isAlive, until } from '../fixtures/until.js';

const pidOf = async (client: Client): Promise<number> => (await client.call('whoami')).result.pid;
const reasonOf = ({ error }: Answer) => error?.data?.reason;
const isSubscription = ({ method }: { method: string }) => method === 'resources/subscribe';
const count = (bridge: Bridge, event: string) =>
  bridge.events.filter((logged) => logged.event === event).length;

/** A bridge whose clock stands still until it is moved. */
async function startAt(options: BridgeOptions = {}) {
  const clock = { now: 1_000_000 };
  const bridge = await startBridge({ ...options, now: () => clock.now });
  const pass = (ms: number) => {
    clock.now += ms;
    bridge.sessions.tick();
  };
  return { bridge, pass, clock, [Symbol.asyncDispose]: () => bridge[Symbol.asyncDispose]() };
}

test('a call on a child that dies is answered with an error, and the next one by a new child', async () => {
  await using bridge = await startBridge();
  const client = await connect(bridge.url);
  const first = await pidOf(client);
  const waiting = client.call('never', {}, 'w');
  await until('the call', () => bridge.sessions.counts.calls === 1);
  const died = await client.call('die', {}, 'd');
  assert.equal(died.id, 'd');
  assert.equal(died.error?.code, -32603);
  assert.equal(reasonOf(died), 'child-ended');
  assert.match(died.error?.message ?? '', /exit code 3.*may or may not/);
  assert.equal((await waiting).id, 'w');
  assert.notEqual(await pidOf(client), first);
  const { received } = (await client.call('received')).result;
  const methods = received.map((line: string) => JSON.parse(line).method);
  assert.deepEqual(methods, ['initialize', 'notifications/initialized', 'whoami', 'received']);
  assert.deepEqual(JSON.parse(received[0]).params, JSON.parse(initializeBody()).params);
});

test('calls that arrive while a child comes back wait for it, each for its own answer', async () => {
  await using bridge = await startBridge();
  const client = await connect(bridge.url);
  await client.call('die');
  const answers = await Promise.all([1, 2, 3].map((mine) => client.call('hold', { count: 3, mine })));
  assert.deepEqual(
    answers.map(({ result }) => result.mine),
    [1, 2, 3],
  );
  assert.equal(count(bridge, 'child.started'), 2);
});

test('a child that keeps ending is not started again and again', async () => {
  await using at = await startAt();
  const client = await connect(at.bridge.url);
  const reasons = [];
  for (let i = 0; i < 5; i += 1) reasons.push(reasonOf(await client.call('die')));
  assert.deepEqual(reasons, [...Array(3).fill('child-ended'), ...Array(2).fill('child-keeps-ending')]);
  assert.equal(count(at.bridge, 'child.started'), 3);
  at.clock.now += 1000;
  assert.ok((await client.call('ping')).result);
});

test('an idle child is stopped and comes back at the next call; an open stream does not keep it', async () => {
  await using at = await startAt({ limits: { childIdleMs: 60_000 } });
  const client = await connect(at.bridge.url);
  const stream = await client.get();
  const first = await pidOf(client);
  at.pass(59_000);
  assert.equal(at.bridge.sessions.counts.children, 1);
  at.pass(1_000);
  await until('quiet', () => at.bridge.sessions.counts.children === 0);
  assert.ok(!isAlive(first));
  assert.deepEqual((await client.call('ping')).result, {}, 'answered without a child');
  await client.post('{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}');
  assert.equal(at.bridge.sessions.counts.children, 0, 'neither a ping nor a notification starts one');
  assert.notEqual(await pidOf(client), first);
  await stream.body?.cancel();
});

test('a child with a call in flight is not idle', async () => {
  await using at = await startAt({ limits: { childIdleMs: 1000, requestMs: 100_000 } });
  const client = await connect(at.bridge.url);
  const held = client.call('hold', { count: 2, mine: 'first' });
  await until('the call', () => at.bridge.sessions.counts.calls === 1);
  at.pass(50_000);
  await client.call('hold', { count: 2, mine: 'second' });
  assert.equal((await held).result.mine, 'first');
});

test('a child is idle since its last call ended, however long that took', async () => {
  await using at = await startAt({ limits: { childIdleMs: 1000, requestMs: 10_000 } });
  const client = await connect(at.bridge.url);
  const call = client.call('never');
  await until('the call', () => at.bridge.sessions.counts.calls === 1);
  at.pass(10_000);
  assert.equal(reasonOf(await call), 'timed-out');
  at.pass(999);
  const states = [...at.bridge.sessions.census.sessions].map(({ state }) => state);
  assert.deepEqual(states, ['live']);
  at.pass(1);
  await until('quiet', () => at.bridge.sessions.counts.children === 0);
});

test('a session stays in memory as long as a client that was cut off may come back for an answer', async () => {
  await using at = await startAt({ limits: { childIdleMs: 1000 } });
  const client = await connect(at.bridge.url);
  await pidOf(client);
  at.pass(1000);
  await until('quiet', () => at.bridge.sessions.counts.children === 0);
  at.pass(58_999);
  assert.equal(at.bridge.sessions.counts.sessions, 1);
  at.pass(1);
  assert.equal(at.bridge.sessions.counts.sessions, 0);
});

test('a session unseen for its lifetime is closed', async () => {
  await using at = await startAt({ limits: { sessionMs: 100_000 } });
  const client = await connect(at.bridge.url);
  at.pass(99_999);
  assert.equal((await client.post('{"jsonrpc":"2.0","id":1,"method":"ping"}')).status, 200);
  at.pass(100_000);
  assert.equal((await client.post('{"jsonrpc":"2.0","id":1,"method":"ping"}')).status, 404);
});

test('a call that takes too long is answered with an error, cancelled, and its late answer dropped', async () => {
  await using at = await startAt({ limits: { requestMs: 10_000, childIdleMs: 1e9 } });
  const client = await connect(at.bridge.url);
  const slow = client.call('hold', { count: 2, mine: 1 }, 'slow');
  await until('the call', () => at.bridge.sessions.counts.calls === 1);
  at.pass(10_000);
  const { id, error } = await slow;
  assert.deepEqual([id, error?.code, error?.data?.reason], ['slow', -32603, 'timed-out']);
  assert.equal((await client.call('hold', { count: 2, mine: 2 }, 'next')).result.mine, 2);
  const { received } = (await client.call('received')).result;
  const lines = received.map((line: string) => JSON.parse(line));
  const late = lines.find(({ method }: { method: string }) => method === 'hold');
  const cancelled = lines.find(({ method }: { method: string }) => method === 'notifications/cancelled');
  assert.equal(cancelled.params.requestId, late.id);
});

test('progress extends the time of its call', async () => {
  await using at = await startAt({ limits: { requestMs: 10_000 } });
  const client = await connect(at.bridge.url);
  const params = { ms: 20, steps: 10, _meta: { progressToken: 'p' } };
  const response = await client.post(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'slowly', params }));
  const reader = response.body?.getReader();
  for (let text = ''; ; ) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
    text += Buffer.from(value ?? []).toString();
    if (value !== undefined) at.pass(6000);
    if (done) {
      assert.match(text, /"result":\{\}/);
      break;
    }
  }
});

test('a child is replaced before its token ends, and the one that goes finishes what it has', async () => {
  const tokens = { expiresAt: 0 };
  await using at = await startAt({ upstream: () => access(tokens.expiresAt), limits: { childIdleMs: 1e9 } });
  tokens.expiresAt = at.clock.now + 3_600_000;
  const client = await connect(at.bridge.url);
  const first = await pidOf(client);
  at.pass(3_539_000);
  assert.equal(await pidOf(client), first);
  const held = client.call('hold', { count: 2, mine: 'held' });
  await until('the call', () => at.bridge.sessions.counts.calls === 1);
  tokens.expiresAt += 3_600_000;
  at.pass(2_000);
  await until('the other child', () => count(at.bridge, 'child.started') === 2);
  await until('the takeover', async () => (await pidOf(client)) !== first);
  assert.ok(isAlive(first), 'it owes an answer');
  at.pass(60_000);
  assert.ok(isAlive(first), 'even past its token');
  await client.post('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}');
  await held.catch(() => undefined);
  await until('the end of the old child', () => !isAlive(first));
});

test('a child that took over learns what its predecessor grants afterwards', async () => {
  const tokens = { expiresAt: 0 };
  await using at = await startAt({ upstream: () => access(tokens.expiresAt), limits: { requestMs: 1e9 } });
  tokens.expiresAt = at.clock.now + 300_000;
  const client = await connect(at.bridge.url);
  const first = await pidOf(client);
  const subscribed = client.call('resources/subscribe', { uri: 'file:///late', ms: 1500 }, 's');
  await until('the call', () => at.bridge.sessions.counts.calls === 1);
  tokens.expiresAt += 300_000;
  at.pass(250_000);
  await until('the takeover', async () => (await pidOf(client)) !== first);
  assert.deepEqual((await subscribed).result, {});
  await until('the end of the old child', () => !isAlive(first));
  const { received } = (await client.call('received')).result;
  const asked = received.map((line: string) => JSON.parse(line)).filter(isSubscription);
  assert.deepEqual(
    asked.map(({ params }: { params: object }) => params),
    [{ uri: 'file:///late' }],
  );
});

test('a token that has ended serves no new call', async () => {
  const tokens = { expiresAt: 0 };
  await using at = await startAt({ upstream: () => access(tokens.expiresAt) });
  tokens.expiresAt = at.clock.now + 60_000;
  const client = await connect(at.bridge.url);
  const first = await pidOf(client);
  const waiting = client.call('later', { ms: 500 }, 'w');
  await until('the call', () => at.bridge.sessions.counts.calls === 1);
  at.clock.now += 60_000;
  tokens.expiresAt += 60_000;
  assert.notEqual(await pidOf(client), first);
  assert.deepEqual((await waiting).result, { waited: 500 });
});

test('while no next child can be had, the present one goes on', async () => {
  const tokens: { expiresAt: number; fault?: UpstreamFault } = { expiresAt: 0 };
  await using at = await startAt({ upstream: () => tokens.fault ?? access(tokens.expiresAt) });
  tokens.expiresAt = at.clock.now + 300_000;
  const client = await connect(at.bridge.url);
  const first = await pidOf(client);
  tokens.fault = { fault: 'unreachable', message: 'Forgejo cannot be reached. Try again later.' };
  at.clock.now += 230_000;
  for (let second = 0; second < 15; second += 1) {
    assert.equal(await pidOf(client), first);
    at.pass(1000);
  }
  delete tokens.fault;
  tokens.expiresAt += 300_000;
  at.pass(5000);
  await until('the takeover', async () => (await pidOf(client)) !== first);
});

test('what the upstream refuses is told to the client in its own words', async () => {
  const upstream = { fault: 'unreachable', message: 'Forgejo cannot be reached. Try again later.' } as const;
  const forge: { isDown: boolean } = { isDown: true };
  await using bridge = await startBridge({ upstream: () => (forge.isDown ? upstream : access()) });
  const bare = clientOf(bridge.url, { Authorization: 'Bearer ann.1' });
  const response = await bare.post(initializeBody());
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('mcp-session-id'), null);
  const { error } = await jsonOf(response);
  assert.deepEqual(error, { code: -32603, message: upstream.message, data: { reason: 'unreachable' } });
  assert.deepEqual(bridge.sessions.counts, { sessions: 0, children: 0, calls: 0 });
  forge.isDown = false;
  const client = await connect(bridge.url);
  forge.isDown = true;
  await client.call('die');
  assert.equal(reasonOf(await client.call('whoami')), 'unreachable');
  forge.isDown = false;
  assert.ok(await pidOf(client), 'the session survived it');
});

test('an upstream source that throws is our fault: the client learns nothing, the log all', async () => {
  await using bridge = await startBridge({
    upstream: () => {
      throw new Error('database is gone');
    },
  });
  const response = await clientOf(bridge.url, { Authorization: 'Bearer ann.1' }).post(initializeBody());
  const { error } = await jsonOf(response);
  assert.deepEqual(error, { code: -32603, message: 'Internal error', data: { reason: 'internal' } });
  assert.match(JSON.stringify(bridge.events), /database is gone/);
});

test('a command that is not there is a sentence, not a crash', async () => {
  await using bridge = await startBridge({ servers: [{ ...fixtureEntry(), command: 'no-such-mcp' }] });
  const response = await clientOf(bridge.url, { Authorization: 'Bearer ann.1' }).post(initializeBody());
  const { error } = await jsonOf(response);
  assert.equal(error.data.reason, 'launch-refused');
  assert.match(error.message, /command "no-such-mcp" was not found in PATH/);
});

test('a server that ends at once fails its initialize, and leaves nothing behind', async () => {
  await using bridge = await startBridge({
    traits: 'exits',
    env: { FIXTURE_STDERR: 'FATAL: no database\n' },
  });
  const response = await clientOf(bridge.url, { Authorization: 'Bearer ann.1' }).post(initializeBody());
  const { error } = await jsonOf(response);
  assert.match(error.message, /exit code 7/);
  assert.deepEqual(bridge.sessions.counts, { sessions: 0, children: 0, calls: 0 });
  const ended = bridge.events.find(({ event }) => event === 'child.ended');
  assert.deepEqual(ended?.fields.lastWords, ['FATAL: no database'], 'the operator sees why');
});

test('a full house puts the idlest session to sleep, and refuses only when all are at work', async () => {
  await using at = await startAt({ limits: { maxChildren: 2, maxChildrenPerUser: 2 } });
  const open = async (bearer: string) => {
    at.clock.now += 1000;
    return connect(at.bridge.url, bearer);
  };
  const ann = await open('ann.1');
  const bob = await open('bob.1');
  const [annPid, bobPid] = [await pidOf(ann), await pidOf(bob)];
  const carl = await open('carl.1');
  assert.ok(await pidOf(carl));
  assert.ok(!isAlive(annPid) && isAlive(bobPid));
  assert.equal(at.bridge.sessions.counts.children, 2);
  const busy = [bob, carl].map((client) => client.call('never'));
  await until('the calls', () => at.bridge.sessions.counts.calls === 2);
  const response = await ann.post('{"jsonrpc":"2.0","id":1,"method":"whoami"}');
  assert.equal(response.headers.get('retry-after'), '5');
  const refused = (await messagesOf(response))[0] ?? { id: 0 };
  assert.deepEqual([refused.error?.code, reasonOf(refused)], [-32000, 'busy']);
  await Promise.all(
    [bob, carl].map((client) => fetch(at.bridge.url, { method: 'DELETE', headers: client.headers })),
  );
  assert.deepEqual((await Promise.all(busy)).map(reasonOf), ['session-closed', 'session-closed']);
  assert.ok(await pidOf(ann));
});

test('one user makes room among their own children', async () => {
  await using at = await startAt({ limits: { maxChildren: 10, maxChildrenPerUser: 2 } });
  const bob = await connect(at.bridge.url, 'bob.1');
  const bobPid = await pidOf(bob);
  const anns = [];
  for (let i = 0; i < 4; i += 1) {
    at.clock.now += 1000;
    anns.push(await connect(at.bridge.url, 'ann.1'));
    await pidOf(anns.at(-1) ?? bob);
  }
  assert.equal(at.bridge.sessions.counts.children, 3);
  assert.ok(isAlive(bobPid));
  const pids = await Promise.all(anns.slice(0, 2).map(pidOf));
  assert.equal(new Set(pids).size, 2);
  assert.equal(at.bridge.sessions.counts.children, 3);
});

test('many newcomers at once stay within the limit, and all are served', async () => {
  await using bridge = await startBridge({ limits: { maxChildren: 3, maxChildrenPerUser: 3 } });
  const clients = await Promise.all(Array.from({ length: 3 }, () => connect(bridge.url)));
  const more = await Promise.all(Array.from({ length: 3 }, () => connect(bridge.url)));
  assert.ok(bridge.sessions.counts.children <= 3);
  for (const client of [...clients, ...more]) assert.ok(await pidOf(client));
});

test('a revoked grant ends its sessions, and only its own', async () => {
  await using bridge = await startBridge();
  const [one, two] = [await connect(bridge.url, 'ann.1'), await connect(bridge.url, 'ann.2')];
  bridge.store.records.delete(one.sessionId);
  bridge.sessions.closeWhere(({ grantId }) => grantId === 'ann.1');
  assert.equal((await one.post('{"jsonrpc":"2.0","id":1,"method":"ping"}')).status, 404);
  assert.equal((await two.post('{"jsonrpc":"2.0","id":1,"method":"ping"}')).status, 200);
});

test('closing leaves no process and no folder, even of children that will not go', async () => {
  const bridge = await startBridge({ traits: 'deaf' });
  const clients = await Promise.all(['ann.1', 'bob.1'].map((bearer) => connect(bridge.url, bearer)));
  const facts = await Promise.all(clients.map(async (client) => (await client.call('whoami')).result));
  const waiting = clients.map((client) => client.post('{"jsonrpc":"2.0","id":1,"method":"never"}'));
  await until('the calls', () => bridge.sessions.counts.calls === 2);
  await bridge.sessions[Symbol.asyncDispose]();
  for (const response of await Promise.all(waiting)) {
    assert.equal(reasonOf((await messagesOf(response))[0] ?? { id: 0 }), 'stopping');
  }
  for (const { pid, env } of facts) {
    assert.ok(!isAlive(pid));
    assert.ok(!existsSync(env.HOME));
  }
  await bridge[Symbol.asyncDispose]();
});

test('closing while a child is being started starts none', async () => {
  let grant: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => {
    grant = resolve;
  });
  const bridge = await startBridge({
    upstream: () => {
      grant();
      return access();
    },
  });
  const opening = clientOf(bridge.url, { Authorization: 'Bearer ann.1' }).post(initializeBody());
  await asked;
  await bridge.sessions[Symbol.asyncDispose]();
  assert.equal((await jsonOf(await opening)).error.data.reason, 'stopping');
  assert.equal(count(bridge, 'child.started'), 0);
  assert.equal(bridge.sessions.counts.children, 0);
  await bridge[Symbol.asyncDispose]();
});

test('a client that leaves before its initialize is answered leaves no session', async () => {
  await using bridge = await startBridge({
    servers: [{ ...fixtureEntry(), command: '/bin/sleep', args: ['600'] }],
  });
  const abort = new AbortController();
  const gone = fetch(bridge.url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: 'Bearer ann.1' },
    body: initializeBody(),
    signal: abort.signal,
  });
  await until('the call', () => bridge.sessions.counts.children === 1);
  abort.abort();
  await assert.rejects(gone);
  await until('quiet', () => bridge.sessions.counts.children === 0);
  assert.equal(bridge.sessions.counts.sessions, 0);
});

test('the child is told that the handshake is complete even if the client does not say so', async () => {
  await using bridge = await startBridge();
  const opened = await clientOf(bridge.url, { Authorization: 'Bearer ann.1' }).post(initializeBody());
  const headers = {
    Authorization: 'Bearer ann.1',
    'Mcp-Session-Id': opened.headers.get('mcp-session-id') ?? '',
  };
  const client = clientOf(bridge.url, headers);
  await client.call('ping');
  await client.post('{"jsonrpc":"2.0","method":"notifications/initialized"}');
  const { received } = (await client.call('received')).result;
  const methods = received.map((line: string) => JSON.parse(line).method);
  assert.deepEqual(methods, ['initialize', 'notifications/initialized', 'ping', 'received']);
});

test('initialize is answered from the last time, and the child starts with the first message that needs it', async () => {
  await using bridge = await startBridge();
  const opened = () => clientOf(bridge.url, { Authorization: 'Bearer ann.1' }).post(initializeBody());
  const first = await jsonOf(await opened());
  assert.equal(count(bridge, 'child.started'), 1);
  assert.deepEqual(await jsonOf(await opened()), first);
  const client = await connect(bridge.url);
  await client.call('ping');
  assert.equal(count(bridge, 'child.started'), 1, 'a probe costs no process');
  const { received } = (await client.call('received')).result;
  assert.equal(count(bridge, 'child.started'), 2);
  assert.deepEqual(JSON.parse(received[0]).params, JSON.parse(initializeBody()).params);
  const others = [connect(bridge.url, 'ann.1', initializeBody('2025-06-18')), connect(bridge.url, 'bob.1')];
  await Promise.all(others);
  assert.equal(count(bridge, 'child.started'), 4, 'other words, or another user, may be answered otherwise');
});

test('a session lives on in another broker: the child is told what the conversation has settled', async () => {
  const store = memorySessionStore();
  await using before = await startBridge({ store });
  const client = await connect(before.url, 'ann.1', initializeBody('2025-06-18', { roots: {} }));
  for (const [method, params] of [
    ['logging/setLevel', { level: 'warning' }],
    ['resources/subscribe', { uri: 'file:///a' }],
    ['resources/subscribe', { uri: 'file:///b' }],
    ['resources/unsubscribe', { uri: 'file:///a' }],
    ['logging/setLevel', { level: 'none such', refuse: true }],
  ] as const) {
    await client.call(method, params);
  }
  await before.sessions[Symbol.asyncDispose]();
  await using after = await startBridge({ store });
  const again = clientOf(after.url, client.headers);
  const answers = await Promise.all([1, 2].map((mine) => again.call('hold', { count: 2, mine })));
  assert.deepEqual(
    answers.map(({ result }) => result.mine),
    [1, 2],
  );
  const received = (await again.call('received')).result.received.map((line: string) => JSON.parse(line));
  assert.deepEqual(
    received.map(({ method, params }: { method: string; params?: object }) => [method, params]).slice(0, 4),
    [
      ['initialize', JSON.parse(initializeBody('2025-06-18', { roots: {} })).params],
      ['notifications/initialized', undefined],
      ['logging/setLevel', { level: 'warning' }],
      ['resources/subscribe', { uri: 'file:///b' }],
    ],
  );
  assert.equal(count(after, 'child.started'), 1);
  assert.equal(
    (await clientOf(after.url, { ...client.headers, Authorization: 'Bearer bob.1' }).get()).status,
    404,
  );
});

test('a session that was ended is ended everywhere', async () => {
  const store = memorySessionStore();
  await using before = await startBridge({ store });
  const client = await connect(before.url);
  await fetch(before.url, { method: 'DELETE', headers: client.headers });
  await using after = await startBridge({ store });
  assert.equal(
    (await clientOf(after.url, client.headers).post('{"jsonrpc":"2.0","id":1,"method":"ping"}')).status,
    404,
  );
});

test('a session that cannot be saved is not given out', async () => {
  const store = { ...memorySessionStore(), addSession: () => Promise.reject(new Error('the disk is full')) };
  await using bridge = await startBridge({ store });
  const opened = await clientOf(bridge.url, { Authorization: 'Bearer ann.1' }).post(initializeBody());
  assert.equal(opened.headers.get('mcp-session-id'), null);
  assert.equal((await jsonOf(opened)).error.data.reason, 'internal');
  await until('quiet', () => bridge.sessions.counts.children === 0);
  assert.deepEqual(bridge.sessions.counts, { sessions: 0, children: 0, calls: 0 });
});

test('a session that nobody uses costs no memory, and is there when it is used again', async () => {
  await using at = await startAt({ limits: { childIdleMs: 60_000 } });
  const client = await connect(at.bridge.url);
  const first = await pidOf(client);
  at.pass(60_000);
  assert.ok(at.bridge.sessions.counts.sessions <= 1);
  await until('quiet', () => at.bridge.sessions.counts.children === 0);
  at.pass(1000);
  assert.deepEqual(at.bridge.sessions.counts, { sessions: 0, children: 0, calls: 0 });
  const pids = await Promise.all([pidOf(client), pidOf(client)]);
  assert.ok(pids[0] !== first && pids[0] === pids[1], 'two messages at once wake one child');
});
