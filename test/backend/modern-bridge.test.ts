/** Modern clients on a legacy server: which child works for whom, that nobody notices its end, and who hears what. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { MAX_WAITING } from '../../src/backend/modern-client.js';
import { NO_OBSERVER } from '../../src/backend/observer.js';
import type { GrantId, UserId } from '../../src/base/ids.js';
import { access, type Bridge, fixtureEntry, startBridge } from '../fixtures/bridge.js';
import { eventsOf, messagesOf, nextEvent } from '../fixtures/client.js';
import {
  type Asking,
  type ModernClient,
  modernBody,
  modernClient,
  modernHeaders,
} from '../fixtures/modern-client.js';
import { memorySessionStore } from '../fixtures/session-store.js';
import { isAlive, until } from '../fixtures/until.js';

const bridge = await startBridge({ traits: 'rich' });
after(() => bridge[Symbol.asyncDispose]());
const client = modernClient(bridge.url);

const pidOf = async (who: ModernClient, asking: Asking = {}): Promise<number> =>
  (await who.tool('whoami', {}, asking)).result.pid;
const receivedBy = async (who: ModernClient): Promise<string[]> =>
  (await who.tool('received')).result.received;
const linesWith = async (who: ModernClient, text: string) =>
  (await receivedBy(who)).filter((line) => line.includes(text));

test('a probe costs no process once the server has greeted this user', async () => {
  await using own = await startBridge({ traits: 'rich,greets' });
  const first = await modernClient(own.url).call('server/discover', {}, { id: 'd' });
  assert.equal(first.id, 'd');
  assert.deepEqual(first.result.supportedVersions, ['2026-07-28']);
  assert.deepEqual(first.result.capabilities.logging, {});
  assert.match(first.result.instructions, /^Process \d+$/);
  assert.equal(own.sessions.counts.children, 1);
  const other = { name: 'another', capabilities: { roots: {} } };
  const second = await modernClient(own.url, 'ann.2').call('server/discover', {}, other);
  assert.deepEqual(second.result, first.result);
  assert.deepEqual(own.sessions.counts, { sessions: 1, children: 1, calls: 0 });
  const bob = await modernClient(own.url, 'bob.1').call('server/discover');
  assert.notEqual(bob.result.instructions, first.result.instructions, 'a server may greet each by name');
});

test('a probe of a server that cannot start says why', async () => {
  await using own = await startBridge({ traits: 'refuses' });
  const { error } = await modernClient(own.url).call('server/discover');
  assert.equal(error?.data?.reason, 'handshake-refused');
});

test('requests share a child when they say the same of their client, for one grant', async () => {
  const pid = await pidOf(client);
  assert.equal(await pidOf(client), pid);
  assert.notEqual(await pidOf(client, { capabilities: { sampling: {} } }), pid);
  assert.notEqual(await pidOf(client, { name: 'another' }), pid);
  assert.notEqual(await pidOf(modernClient(bridge.url, 'ann.2')), pid);
  assert.notEqual(await pidOf(modernClient(bridge.url, 'bob.1')), pid);
});

test('a child is told what its clients declare, and is asked in legacy words', async () => {
  const own: Asking = { name: 'declared', capabilities: { elicitation: {}, tasks: {} } };
  const received = (await client.tool('received', {}, own)).result.received.map((line: string) =>
    JSON.parse(line),
  );
  assert.deepEqual(received[0].params, {
    protocolVersion: '2025-11-25',
    capabilities: { elicitation: {} },
    clientInfo: { name: 'declared', version: '1' },
  });
  assert.equal(received[1].method, 'notifications/initialized');
  assert.deepEqual(received.at(-1).params, { name: 'received', arguments: {}, _meta: {} });
});

test('arguments and results pass byte for byte', async () => {
  const params = '{"z":1.0,"big":12345678901234567890,"ä":"\\u00e4","name":"echo","arguments":{"n":1e2}';
  const meta = modernBody('tools/call', {}).match(/"_meta":(\{.*\})\}\}$/)?.[1] ?? '';
  const response = await fetch(bridge.url, {
    method: 'POST',
    headers: { Authorization: 'Bearer ann.1', ...modernHeaders('tools/call', { name: 'echo' }) },
    body: `{"jsonrpc":"2.0","id":1e0,"method":"tools/call","params":${params},"_meta":${meta}}}`,
  });
  const text = await response.text();
  assert.ok(text.startsWith('{"jsonrpc":"2.0","id":1e0,"result":{"resultType":"complete",'), text);
  assert.ok(text.includes(params.slice(1)), text);
});

test('a list says that it must not be kept', async () => {
  const { result } = await client.call('tools/list');
  assert.deepEqual([result.ttlMs, result.cacheScope], [0, 'private']);
});

test('a list may be kept as long as its entry says, and so may what the server says of itself', async () => {
  const servers = [{ ...fixtureEntry('main', { FIXTURE: 'rich' }), ttlSeconds: 90 }];
  await using own = await startBridge({ servers });
  const it = modernClient(own.url);
  for (const method of ['server/discover', 'tools/list', 'server/discover']) {
    const { result } = await it.call(method);
    assert.deepEqual([result.ttlMs, result.cacheScope], [90_000, 'private'], method);
  }
});

test('a client notices no restart, crash, or sleep', async () => {
  let now = 1_000_000;
  const store = memorySessionStore();
  const open = () =>
    startBridge({ traits: 'rich,older', store, now: () => now, limits: { childIdleMs: 60_000 } });
  const first = await open();
  const pid = await pidOf(modernClient(first.url));
  await first[Symbol.asyncDispose]();

  await using second = await open();
  const again = modernClient(second.url);
  const next = await pidOf(again);
  assert.notEqual(next, pid);
  process.kill(next, 'SIGKILL');
  await until('its end', () => second.sessions.counts.children === 0);
  const third = await pidOf(again);
  assert.notEqual(third, next);

  now += 61_000;
  second.sessions.tick();
  await until('its sleep', () => !isAlive(third));
  await until('its end', () => second.sessions.counts.children === 0);
  assert.equal(second.sessions.counts.sessions, 0);
  assert.notEqual(await pidOf(again), third);
  assert.ok(!second.events.some(({ event }) => event === 'session.version-changed'));
  await second.sessions.save();
  assert.equal(store.records.size, 0, 'nothing of it is stored');
});

test('a call on a child that dies is answered, and never made again', async () => {
  const own: Asking = { name: 'dies' };
  const { error } = await client.tool('die', {}, own);
  assert.equal(error?.data?.reason, 'child-ended');
  assert.deepEqual(
    await client
      .tool('received', {}, own)
      .then(({ result }) => result.received.filter((line: string) => line.includes('"die"'))),
    [],
  );
});

test('a child whose token ends is replaced unnoticed, and its successor knows the subscriptions', async () => {
  let now = 1_000_000;
  let expiresAt = now + 400_000;
  await using own = await startBridge({
    traits: 'rich',
    now: () => now,
    limits: { childIdleMs: 1e9, requestMs: 1e9 },
    upstream: () => ({ ...access(), freshUntil: expiresAt - 300_000, expiresAt }),
  });
  const it = modernClient(own.url);
  const listening = await it.post('subscriptions/listen', {
    notifications: { resourceSubscriptions: ['a:1'] },
  });
  const events = eventsOf(listening);
  await nextEvent(events);
  const pid = await pidOf(it);
  now += 101_000;
  expiresAt = now + 400_000;
  own.sessions.tick();
  await until('the takeover', async () => (await pidOf(it)) !== pid);
  assert.equal((await linesWith(it, 'resources/subscribe')).length, 1);
  await it.tool('notify', { method: 'notifications/resources/updated', params: { uri: 'a:1' } });
  assert.equal((await nextEvent(events)).method, 'notifications/resources/updated');
});

test('when a user has as many children as he may, the idlest makes room', async () => {
  await using own = await startBridge({ limits: { maxChildrenPerUser: 2 } });
  const it = modernClient(own.url);
  for (const name of ['a', 'b', 'c', 'a', 'b', 'c']) assert.ok(await pidOf(it, { name }));
  assert.ok(own.sessions.counts.children <= 2);
});

test('what shares a session ends with its grant', async () => {
  await using own = await startBridge({ traits: 'rich' });
  const it = modernClient(own.url);
  const events = eventsOf(await it.post('subscriptions/listen', { notifications: {} }, { id: 'l' }));
  await nextEvent(events);
  const pid = await pidOf(it);
  own.sessions.closeWhere(({ grantId }) => grantId === 'ann.1');
  assert.equal((await nextEvent(events)).id, 'l');
  assert.ok((await events.next()).done);
  await until('its end', () => !isAlive(pid));
  assert.equal(own.sessions.counts.sessions, 0);
});

test('a request gets the log messages that it asked for, and no other request does', async () => {
  await using own = await startBridge({ traits: 'rich' });
  const it = modernClient(own.url);
  const level = (logLevel: string): Asking => ({ meta: { 'io.modelcontextprotocol/logLevel': logLevel } });
  const wait = { name: 'later', arguments: { ms: 400 } };
  const waiting = [
    it.post('tools/call', wait),
    it.post('tools/call', wait, level('info')),
    it.post('tools/call', wait, level('error')),
  ];
  const say = (what: string) =>
    it.tool('notify', { method: 'notifications/message', params: { level: what, data: what } });
  await until('all three', async () => (await linesWith(it, '"later"')).length === 3);
  await say('debug');
  await say('warning');
  await say('alert');
  const heard = await Promise.all(
    waiting.map(async (response) =>
      (await messagesOf(await response)).flatMap(({ method, params }) =>
        method === 'notifications/message' ? [params?.data] : [],
      ),
    ),
  );
  assert.deepEqual(heard, [[], ['warning', 'alert'], ['alert']]);
  const set = (await linesWith(it, 'logging/setLevel')).map((line) => JSON.parse(line).params.level);
  assert.equal(
    set[0] === 'error' ? set[1] : set[0],
    'info',
    'the child says as much as the most curious wants',
  );
});

test('a client that takes JSON only gets its answer as JSON, without what comes before', async () => {
  await using own = await startBridge({ traits: 'rich' });
  const asking: Asking = {
    headers: { Accept: 'application/json' },
    meta: { 'io.modelcontextprotocol/logLevel': 'debug', progressToken: 1 },
  };
  const args = { method: 'notifications/message', params: { level: 'info', data: 'x' } };
  const params = { name: 'notify', arguments: args };
  const response = await modernClient(own.url).post('tools/call', params, asking);
  assert.match(response.headers.get('content-type') ?? '', /^application\/json/);
  assert.equal((await messagesOf(response)).length, 1);
});

test('a server without logging is not told a level', async () => {
  await using own = await startBridge();
  const it = modernClient(own.url);
  await it.tool('whoami');
  await it.tool('whoami', {}, { meta: { 'io.modelcontextprotocol/logLevel': 'debug' } });
  assert.deepEqual(await linesWith(it, 'logging/setLevel'), []);
});

test('a subscription is acknowledged first, and then says what it was asked for, under its own id', async () => {
  await using own = await startBridge({ traits: 'rich' });
  const it = modernClient(own.url);
  const KEY = 'io.modelcontextprotocol/subscriptionId';
  const tools = eventsOf(
    await it.post(
      'subscriptions/listen',
      { notifications: { toolsListChanged: true, resourceSubscriptions: ['a:1'] } },
      { id: 'tools' },
    ),
  );
  const prompts = eventsOf(
    await it.post('subscriptions/listen', { notifications: { promptsListChanged: true } }, { id: 2 }),
  );
  const acknowledged = await nextEvent(tools);
  assert.equal(acknowledged.method, 'notifications/subscriptions/acknowledged');
  assert.deepEqual(acknowledged.params, {
    _meta: { [KEY]: 'tools' },
    notifications: { toolsListChanged: true, resourceSubscriptions: ['a:1'] },
  });
  assert.deepEqual((await nextEvent(prompts)).params, {
    _meta: { [KEY]: 2 },
    notifications: { promptsListChanged: true },
  });
  for (const method of ['tools/list_changed', 'prompts/list_changed', 'resources/list_changed'])
    await it.tool('notify', { method: `notifications/${method}`, params: {} });
  for (const uri of ['a:2', 'a:1'])
    await it.tool('notify', { method: 'notifications/resources/updated', params: { uri } });
  assert.deepEqual((await nextEvent(tools)).params, { _meta: { [KEY]: 'tools' } });
  assert.deepEqual((await nextEvent(tools)).params, { uri: 'a:1', _meta: { [KEY]: 'tools' } });
  assert.deepEqual((await nextEvent(prompts)).params, { _meta: { [KEY]: 2 } });
});

test('a resource is watched once for all who want it, and no longer than they do', async () => {
  await using own = await startBridge({ traits: 'rich' });
  const it = modernClient(own.url);
  const listen = async (uris: readonly string[]) => {
    const gone = new AbortController();
    const asking = { signal: gone.signal };
    const response = await it.post(
      'subscriptions/listen',
      { notifications: { resourceSubscriptions: uris } },
      asking,
    );
    await nextEvent(eventsOf(response));
    return () => gone.abort();
  };
  const lines = async (method: string) =>
    (await linesWith(it, `"${method}"`))
      .map((line) => JSON.parse(line).params.uri as string)
      .sort((a, b) => a.localeCompare(b));
  const leaveFirst = await listen(['a:1', 'b:1']);
  const leaveSecond = await listen(['b:1']);
  await until('both', async () => (await lines('resources/subscribe')).length === 2);
  leaveFirst();
  await until('one', async () => (await lines('resources/unsubscribe')).length > 0);
  assert.deepEqual(await lines('resources/unsubscribe'), ['a:1']);
  leaveSecond();
  await until('none', async () => (await lines('resources/unsubscribe')).length > 1);
  assert.deepEqual(await lines('resources/subscribe'), ['a:1', 'b:1']);
});

test('who listens keeps no child awake, and hears the next one', async () => {
  let now = 1_000_000;
  await using own = await startBridge({ traits: 'rich', now: () => now, limits: { childIdleMs: 60_000 } });
  const it = modernClient(own.url);
  const events = eventsOf(
    await it.post('subscriptions/listen', { notifications: { toolsListChanged: true } }),
  );
  await nextEvent(events);
  const pid = await pidOf(it);
  now += 61_000;
  own.sessions.tick();
  await until('its end', () => !isAlive(pid) && own.sessions.counts.children === 0);
  own.sessions.tick();
  assert.equal(own.sessions.counts.sessions, 1);
  await it.tool('notify', { method: 'notifications/tools/list_changed', params: {} });
  assert.equal((await nextEvent(events)).method, 'notifications/tools/list_changed');
});

test('a broker that is about to stop ends its subscriptions with a result', async () => {
  await using own = await startBridge({ traits: 'rich' });
  const it = modernClient(own.url);
  const events = eventsOf(
    await it.post('subscriptions/listen', { notifications: { toolsListChanged: true } }, { id: 'x' }),
  );
  await nextEvent(events);
  own.sessions.hangUp();
  const { id, result } = await nextEvent(events);
  assert.equal(id, 'x');
  assert.equal(result._meta['io.modelcontextprotocol/subscriptionId'], 'x');
  assert.ok((await events.next()).done);
  assert.equal((await it.tool('whoami')).error, undefined);
});

test('a child is not made to watch more resources than it can be told anew', async () => {
  await using own = await startBridge({ traits: 'rich' });
  const it = modernClient(own.url);
  const uris = (kind: string) => Array.from({ length: 600 }, (_, n) => `${kind}:${n}`);
  const listen = (kind: string) =>
    it.post('subscriptions/listen', { notifications: { resourceSubscriptions: uris(kind) } });
  await nextEvent(eventsOf(await listen('a')));
  const [refused] = await messagesOf(await listen('b'));
  assert.equal(refused?.error?.data?.reason, 'too-many-resources');
  const same = await nextEvent(eventsOf(await listen('a')));
  assert.equal(same.method, 'notifications/subscriptions/acknowledged');
});

test('a user has a bounded number of subscriptions', async () => {
  await using own = await startBridge({ traits: 'rich' });
  const it = modernClient(own.url);
  const gone = new AbortController();
  const listen = () => it.post('subscriptions/listen', { notifications: {} }, { signal: gone.signal });
  for (let n = 0; n < 100; n += 1) await nextEvent(eventsOf(await listen()));
  const refused = await it.call('subscriptions/listen', { notifications: {} });
  assert.equal(refused.error?.data?.reason, 'too-many-subscriptions');
  const other = await modernClient(own.url, 'bob.1').post('subscriptions/listen', { notifications: {} });
  assert.equal((await nextEvent(eventsOf(other))).method, 'notifications/subscriptions/acknowledged');
  gone.abort();
  await until('room for one', async () => {
    const response = await it.post('subscriptions/listen', { notifications: {} });
    return response.headers.get('content-type') === 'text/event-stream';
  });
});

const tool = (name: string, header?: string) => ({
  name,
  inputSchema: {
    type: 'object',
    properties: { region: { type: 'string', ...(header && { 'x-mcp-header': header }) } },
  },
});

test('a header that repeats an argument must say the same, also to a server whose list nobody has asked for', async () => {
  const TOOLS = JSON.stringify([[tool('whoami')], [tool('echo', 'Region')]]);
  await using own = await startBridge({ traits: 'rich', env: { TOOLS } });
  const it = modernClient(own.url);
  const echo = (headers: Readonly<Record<string, string>>) =>
    it.post('tools/call', { name: 'echo', arguments: { region: 'eu' } }, { headers });
  assert.equal((await echo({ 'Mcp-Param-Region': 'us' })).status, 400);
  assert.equal((await echo({})).status, 400);
  assert.equal((await echo({ 'Mcp-Param-Region': 'eu' })).status, 200);
  await it.tool('whoami');
  assert.equal((await linesWith(it, '"tools/list"')).length, 2, 'each page once');
  await it.tool('notify', { method: 'notifications/tools/list_changed', params: {} });
  await it.tool('whoami');
  assert.equal((await linesWith(it, '"tools/list"')).length, 4);
});

test('a list that a client has asked for is not asked for again', async () => {
  const TOOLS = JSON.stringify([[tool('echo', 'Region')]]);
  await using own = await startBridge({ env: { TOOLS } });
  const it = modernClient(own.url);
  await it.call('tools/list');
  const response = await it.post('tools/call', { name: 'echo', arguments: { region: 'eu' } });
  assert.equal(response.status, 400);
  assert.equal((await linesWith(it, '"tools/list"')).length, 1);
});

/** The server has asked something while several calls were under way. */
async function puzzle(it: ModernClient): Promise<void> {
  const waiting = it.tool('later', { ms: 200 });
  await until('its call', async () => (await linesWith(it, '"later"')).length > 0);
  await it.tool('wonder', { method: 'roots/list' });
  await waiting;
}

test('at a server that asks its clients, calls that may lead to it have a child to themselves', async () => {
  await using own = await startBridge({ limits: { maxChildrenPerUser: 2 } });
  const it = modernClient(own.url);
  const first = await pidOf(it);
  const before = it.tool('later', { ms: 50 });
  assert.equal(await pidOf(it), first);
  await before;
  await puzzle(it);
  assert.deepEqual(own.events.filter(({ event }) => event === 'server.interactive').length, 1);

  const order: string[] = [];
  const note = (what: string) => () => void order.push(what);
  const long = it.tool('later', { ms: 600 }).then(note('long'));
  const second = await pidOf(it);
  assert.notEqual(second, first);
  const short = it.tool('later', { ms: 300 }).then(note('short'));
  const gone = new AbortController();
  const third = it.tool('whoami').then(note('third'));
  const cancelled = it.tool('die', {}, { signal: gone.signal }).catch(note('cancelled'));
  assert.deepEqual((await it.call('tools/list')).result.tools, [], 'what asks nothing does not wait');
  gone.abort();
  await Promise.all([long, short, third, cancelled]);
  assert.deepEqual(order, ['cancelled', 'short', 'third', 'long']);
  assert.equal(own.sessions.counts.children, 2);
  assert.deepEqual([await pidOf(it), isAlive(second)], [first, true]);
});

const ROOTS = { roots: [{ uri: 'file:///x' }] };
const ABLE: Asking = { capabilities: { roots: {} } };
const PARKING = { name: 'ask', arguments: { method: 'roots/list' } };

/** A call that waits for its client, the child that it is at, and what brings it to its end. */
async function park(it: ModernClient) {
  const pid = await pidOf(it);
  const { result } = await it.call('tools/call', PARKING);
  const [key = ''] = Object.keys(result.inputRequests);
  const input = { inputResponses: { [key]: ROOTS }, requestState: result.requestState };
  return { pid, resume: () => it.call('tools/call', { ...PARKING, ...input }) };
}

test('a call that waits for its client keeps its child to itself, also when it goes on', async () => {
  await using own = await startBridge({ limits: { maxChildrenPerUser: 2 } });
  await puzzle(modernClient(own.url));
  const it = modernClient(own.url, 'ann.1', ABLE);
  const first = await park(it);
  const second = await park(it);
  assert.notEqual(second.pid, first.pid);
  for (const { resume } of [second, first])
    assert.deepEqual((await resume()).result.heard.result, ROOTS, 'each hears its own answer');
  assert.equal(await pidOf(it), first.pid);
});

/** What takes all places but that of the parked call; what it returns, ends with it. */
const CROWDS: Readonly<
  Record<string, (own: Bridge, it: ModernClient) => Promise<{ end: Promise<unknown> }>>
> = {
  'its user may have no other': () => Promise.resolve({ end: Promise.resolve() }),
  'another client has the place of one that was idle': async (own, it) => {
    const idle = await pidOf(it);
    const end = modernClient(own.url, 'ann.2').tool('later', { ms: 500 });
    await until('its end', () => !isAlive(idle));
    return { end };
  },
};

for (const [n, [when, crowd]] of Object.entries(CROWDS).entries()) {
  test(`a call that waits for its client shares its child, and is not given up for it, when ${when}`, async () => {
    await using own = await startBridge({ limits: { maxChildrenPerUser: n + 1 } });
    await puzzle(modernClient(own.url));
    const it = modernClient(own.url, 'ann.1', ABLE);
    const parked = await park(it);
    const { end } = await crowd(own, it);
    assert.equal(await pidOf(it), parked.pid);
    assert.deepEqual((await parked.resume()).result.heard.result, ROOTS);
    await end;
  });
}

test('a call that waits for its client is not given up when of two others at once one finds a place', async () => {
  await using own = await startBridge({ traits: 'deaf', limits: { maxChildrenPerUser: 3 } });
  await puzzle(modernClient(own.url));
  const it = modernClient(own.url, 'ann.1', ABLE);
  const parked = await park(it);
  const busy = modernClient(own.url, 'ann.2')
    .tool('never')
    .catch(() => undefined);
  await until('its call', () => own.sessions.counts.calls === 2);
  // The one that is idle takes its time to make room.
  const pids = await Promise.all([pidOf(it), pidOf(it)]);
  assert.deepEqual(pids.map((pid) => pid === parked.pid).toSorted(), [false, true]);
  assert.deepEqual((await parked.resume()).result.heard.result, ROOTS);
  await own[Symbol.asyncDispose]();
  await busy;
});

/** Something that is under way, and looked after until it is over. */
async function whenOver<T>(work: Promise<T>, what: string, meanwhile: () => void): Promise<T> {
  let isOver: boolean = false;
  const over = work.finally(() => {
    isOver = true;
  });
  await until(what, () => {
    meanwhile();
    return isOver;
  });
  return over;
}

test('a call waits no longer for a child to itself than for an answer', async () => {
  const clock = { now: 1_000_000 };
  const outcomes: string[] = [];
  const observer = { ...NO_OBSERVER, called: (_: string, outcome: string) => void outcomes.push(outcome) };
  await using own = await startBridge({
    now: () => clock.now,
    observer,
    limits: { maxChildrenPerUser: 1, requestMs: 60_000 },
  });
  const it = modernClient(own.url);
  await puzzle(it);
  const running = it.tool('never').catch(() => undefined);
  await until('its call', () => own.sessions.counts.calls === 1);
  const { error } = await whenOver(it.tool('whoami'), 'its end', () => {
    // Whoever looks at the clock in between sees no time pass: the call that runs goes on.
    clock.now += 60_000;
    own.modern.tick();
    clock.now -= 60_000;
  });
  assert.equal(error?.data?.reason, 'timed-out');
  assert.equal(outcomes.at(-1), 'timeout');
  assert.equal(own.sessions.counts.calls, 1);
  await own[Symbol.asyncDispose]();
  await running;
});

test('a call that waits gets a child when one that was not of its client makes room', async () => {
  await using own = await startBridge({ limits: { maxChildrenPerUser: 2 } });
  const it = modernClient(own.url);
  await puzzle(it);
  const running = it.tool('never').catch(() => undefined);
  await until('its call', () => own.sessions.counts.calls === 1);
  const other = modernClient(own.url, 'ann.2').tool('later', { ms: 300 });
  await until('the other', () => own.sessions.counts.calls === 2);
  const { result } = await whenOver(it.tool('whoami'), 'its child', () => own.modern.tick());
  assert.equal(typeof result.pid, 'number');
  await other;
  await own[Symbol.asyncDispose]();
  await running;
});

test('so many calls wait for a child to themselves, one more does not, and a broker that stops tells them', async () => {
  await using own = await startBridge({ limits: { maxChildrenPerUser: 1 } });
  const it = modernClient(own.url);
  await puzzle(it);
  const calls = Array.from({ length: 1 + MAX_WAITING + 1 }, () => it.tool('never'));
  await Promise.race(calls);
  await own.sessions[Symbol.asyncDispose]();
  const reasons = (await Promise.all(calls)).map(({ error }) => error?.data?.reason);
  assert.deepEqual(reasons.toSorted(), [...Array(1 + MAX_WAITING).fill('stopping'), 'too-many-calls']);
});

test('a client whose last session makes room for its next one is the same client', {
  timeout: 10_000,
}, async () => {
  await using own = await startBridge({ traits: 'rich' });
  const it = modernClient(own.url);
  await puzzle(it);
  const early = it.tool('later', { ms: 100 });
  await Promise.all([early, it.tool('later', { ms: 300 })]);
  const pids = [...own.events].flatMap(({ event, fields }) =>
    event === 'child.started' ? [Number(fields.pid)] : [],
  );
  assert.equal(pids.length, 2);
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  await until('their end', () => own.sessions.counts.children === 0);
  const ann = [...own.sessions.census.sessions].length;
  const caller = { userId: 'ann' as UserId, grantId: 'ann.1' as GrantId };
  // As many as a user may have, and one more: the session of the first child goes, then that of the second.
  for (let n = ann; n <= 200; n += 1) own.sessions.open(caller, 'main');
  assert.equal((await it.call('tools/list')).error, undefined);
  const listening = eventsOf(
    await it.post('subscriptions/listen', { notifications: { toolsListChanged: true } }),
  );
  await nextEvent(listening);
  await it.tool('notify', { method: 'notifications/tools/list_changed', params: {} });
  assert.equal((await nextEvent(listening)).method, 'notifications/tools/list_changed');
});
