/** Modern clients and modern servers: each hears the other's own words, and clients do not notice what becomes of children. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { META } from '../../src/mcp/protocol.js';
import { access, type Bridge, type BridgeOptions, FIXTURES, startBridge } from '../fixtures/bridge.js';
import { type Answer, eventsOf, jsonOf, nextEvent } from '../fixtures/client.js';
import { type Asking, type ModernClient, modernClient } from '../fixtures/modern-client.js';
import { until } from '../fixtures/until.js';

interface Options extends BridgeOptions {
  readonly traits?: string;
  readonly program?: string;
}

function start({ traits = '', program = 'modern-server.js', ...options }: Options = {}): Promise<Bridge> {
  const entry = { name: 'main', command: process.execPath, args: [join(FIXTURES, program)] };
  return startBridge({
    servers: [{ ...entry, env: { FIXTURE: traits }, protocol: 'modern' }],
    ...options,
  });
}

const textOf = ({ result, error }: Answer): string => result?.content[0].text ?? JSON.stringify(error);
const said = async (client: ModernClient, tool: string, args: object = {}, asking: Asking = {}) =>
  textOf(await client.tool(tool, args, asking));
const listOf = async (client: ModernClient, tool: string): Promise<string[]> =>
  JSON.parse(await said(client, tool));

/** A subscription, as far as its acknowledgement. */
async function listen(client: ModernClient, notifications: object, asking: Asking = {}) {
  const response = await client.post('subscriptions/listen', { notifications }, asking);
  const events = eventsOf(response);
  const first = await nextEvent(events);
  assert.equal(first.method, 'notifications/subscriptions/acknowledged', JSON.stringify(first));
  assert.deepEqual(first.params?.notifications, notifications);
  const next = async () => {
    const { method, params, result, id } = await nextEvent(events);
    const meta = (params?._meta ?? result?._meta) as Record<string, unknown> | undefined;
    return { method, id, result, params, subscription: meta?.[META.subscriptionId] };
  };
  const ack = first.params?._meta as Record<string, unknown> | undefined;
  assert.equal(ack?.[META.subscriptionId], asking.id ?? 1);
  return { next, events };
}

test("a result is the server's, byte for byte but for the id", async () => {
  await using bridge = await start();
  const client = modernClient(bridge.url);
  const response = await client.post('tools/call', { name: 'exact' }, { id: 'ü' });
  assert.equal(
    await response.text(),
    '{"result": {"resultType" : "odd", "n":12345678901234567890, "f":1.0, "cacheScope":"public", "ä":"\\u00e4"}, "id":"ü", "jsonrpc":"2.0"}',
  );
});

test('a server hears of each client what it says of itself', async () => {
  await using bridge = await start();
  const client = modernClient(bridge.url);
  const asking = {
    name: 'one',
    capabilities: { extensions: { 'x/y': { z: 1 } } },
    meta: { traceparent: '00-a' },
  };
  assert.deepEqual(JSON.parse(await said(client, 'meta', {}, asking)), {
    [META.version]: '2026-07-28',
    [META.clientInfo]: { name: 'one', version: '1' },
    [META.capabilities]: asking.capabilities,
    traceparent: '00-a',
  });
  assert.match(await said(client, 'meta', {}, { name: 'two' }), /"two"/);
  assert.equal(bridge.sessions.counts.children, 1, 'and one child is enough for both');
});

test('each grant has a child of its own', async () => {
  await using bridge = await start();
  const lives = await Promise.all(
    ['ann.1', 'ann.2', 'bob.1'].map((bearer) => said(modernClient(bridge.url, bearer), 'life')),
  );
  assert.equal(new Set(lives).size, 3);
});

test('input that a server requires, and its state, pass as they are', async () => {
  await using bridge = await start();
  const client = modernClient(bridge.url);
  const round = (more: object) => client.call('tools/call', { name: 'interview', arguments: {}, ...more });
  const { result: first } = await round({});
  assert.equal(first.resultType, 'input_required');
  assert.equal(first.requestState, 'name');
  const inputResponses = (key: string, it: string) => ({ [key]: { action: 'accept', content: { it } } });
  const { result: second } = await round({
    inputResponses: inputResponses('name', 'Ann'),
    requestState: 'name',
  });
  assert.deepEqual(Object.keys(second.inputRequests), ['colour']);
  const last = await round({
    inputResponses: inputResponses('colour', 'blue'),
    requestState: second.requestState,
  });
  assert.equal(textOf(last), 'Ann likes blue');
  assert.equal(bridge.sessions.counts.calls, 0, 'nothing waits meanwhile');
});

test('progress leaves under the token of its request, and a client that goes away cancels', async () => {
  await using bridge = await start();
  const client = modernClient(bridge.url);
  const abort = new AbortController();
  const never = (progressToken: string, signal: AbortSignal) =>
    client.post('tools/call', { name: 'never' }, { meta: { progressToken }, signal });
  const [a, b] = await Promise.all(['a', 'b'].map((token) => never(token, abort.signal)));
  assert.ok(a !== undefined && b !== undefined);
  assert.equal((await nextEvent(eventsOf(a))).params?.progressToken, 'a');
  assert.equal((await nextEvent(eventsOf(b))).params?.progressToken, 'b');
  abort.abort();
  await until('the cancellations', async () => (await listOf(client, 'cancelled')).length === 2);
});

test('a log message goes to the request that asked for its level, and to no other', async () => {
  await using bridge = await start({ timing: { decideAfterMs: 1 } });
  const client = modernClient(bridge.url);
  const abort = new AbortController();
  const asking = (level: string) => ({
    meta: { [META.logLevel]: level, progressToken: level },
    signal: abort.signal,
  });
  const open = async (level: string) => {
    const events = eventsOf(await client.post('tools/call', { name: 'never' }, asking(level)));
    assert.equal((await nextEvent(events)).method, 'notifications/progress');
    return events;
  };
  const wanted = await open('info');
  const other = await open('error');
  assert.equal(await said(client, 'babble'), 'babbled');
  assert.equal((await nextEvent(wanted)).params?.data, 'babble');
  const log = { meta: { [META.logLevel]: 'error' } };
  const own = eventsOf(await client.post('tools/call', { name: 'log' }, log));
  assert.equal((await nextEvent(own)).params?.data, 'said');
  abort.abort();
  await assert.rejects(other.next(), 'nothing came before it was cut off');
});

test('what nobody asked for is not heard: changes without a subscription, log messages, questions', async () => {
  await using bridge = await start();
  const client = modernClient(bridge.url);
  for (const tool of ['babble', 'demand']) {
    const response = await client.post(
      'tools/call',
      { name: tool, arguments: {} },
      { capabilities: { roots: {} } },
    );
    assert.match(response.headers.get('content-type') ?? '', /json/, 'nothing came before the answer');
    assert.equal((await jsonOf(response)).error, undefined);
  }
  const [said] = (await client.tool('received')).result.content;
  const lines: string[] = JSON.parse(said.text);
  assert.ok(
    lines.every((line) => JSON.parse(line).method !== undefined),
    'no response is written to it',
  );
  assert.equal(bridge.events.filter(({ event }) => event === 'child.noise').length, 2);
});

test('what a server says of itself costs a process once, by user, and is stale when it was kept', async () => {
  let now = Date.now();
  await using bridge = await start({ traits: 'dual', now: () => now });
  const starts = () => bridge.events.filter(({ event }) => event === 'child.started').length;
  const ann = modernClient(bridge.url);
  const { result: first } = await ann.call('server/discover', {}, { id: 'a' });
  const { result: again } = await ann.call('server/discover');
  assert.deepEqual(again, first, 'a child that is there is asked');
  assert.deepEqual(
    [first.supportedVersions, first.ttlMs, first.cacheScope],
    [['2026-07-28'], 1000, 'private'],
  );
  now += 400_000;
  bridge.sessions.tick();
  await until('sleep', () => bridge.sessions.counts.children === 0);
  const { id, result: second } = await ann.call('server/discover', {}, { id: 'b' });
  assert.equal(id, 'b');
  assert.deepEqual(second, { ...first, ttlMs: 0 });
  assert.equal(starts(), 1);
  await modernClient(bridge.url, 'bob.1').call('server/discover');
  assert.equal(starts(), 2);
  await ann.call('server/discover', {}, { capabilities: { roots: {} } });
  assert.equal(starts(), 3, 'who says something else of itself may be told something else');
});

test('a child that was not asked what it is has said so nevertheless', async () => {
  let now = Date.now();
  await using bridge = await start({ now: () => now });
  const client = modernClient(bridge.url);
  await said(client, 'life');
  now += 400_000;
  bridge.sessions.tick();
  await until('sleep', () => bridge.sessions.counts.children === 0);
  const { result } = await client.call('server/discover');
  assert.equal(result.instructions, 'modern');
  assert.equal(bridge.sessions.counts.children, 0);
});

test('each subscription hears what it asked for, under its own id', async () => {
  await using bridge = await start();
  const client = modernClient(bridge.url);
  const updates = await listen(client, { resourceSubscriptions: ['a:1'] }, { id: 'same' });
  const both = await listen(
    client,
    { resourceSubscriptions: ['a:2'], toolsListChanged: true },
    { id: 'same' },
  );
  const prompts = await listen(client, { promptsListChanged: true }, { id: 12 });
  await said(client, 'touch', { uri: 'a:1' });
  await said(client, 'touch', { uri: 'a:2' });
  const update = await updates.next();
  assert.deepEqual(
    [update.method, update.params?.uri, update.subscription],
    ['notifications/resources/updated', 'a:1', 'same'],
  );
  const methods = [await both.next(), await both.next(), await both.next()].map(
    ({ method, subscription }) => {
      assert.equal(subscription, 'same');
      return method?.slice('notifications/'.length);
    },
  );
  assert.deepEqual(methods, ['tools/list_changed', 'resources/updated', 'tools/list_changed']);
  await said(client, 'dismiss', { how: 'result' });
  assert.equal((await prompts.next()).id, 12, 'nothing came before its end');
});

test('a client that closes its stream cancels its subscription, and no other', async () => {
  await using bridge = await start();
  const client = modernClient(bridge.url);
  const abort = new AbortController();
  await listen(client, { toolsListChanged: true }, { signal: abort.signal });
  const stays = await listen(client, { toolsListChanged: true });
  abort.abort();
  await until('the cancellation', async () => (await listOf(client, 'cancelled')).length === 1);
  await said(client, 'touch', { uri: 'a:1' });
  assert.equal((await stays.next()).method, 'notifications/tools/list_changed');
});

for (const how of ['result', 'cancel'] as const) {
  test(`the end of a subscription by its server is passed on (${how})`, async () => {
    await using bridge = await start();
    const client = modernClient(bridge.url);
    const { next, events } = await listen(client, { toolsListChanged: true }, { id: 'mine' });
    await said(client, 'dismiss', { how });
    if (how === 'cancel') assert.equal((await next()).params?.requestId, 'mine');
    const { id, result, subscription } = await next();
    assert.deepEqual([id, result?.resultType, subscription], ['mine', 'complete', 'mine']);
    assert.equal((await events.next()).done, true);
    assert.equal(bridge.sessions.counts.calls, 0);
  });
}

/** What may become of a child that nobody calls. */
const LOSSES: readonly (readonly [
  what: string,
  lose: (bridge: Bridge, later: () => void) => Promise<void>,
])[] = [
  ['crashed', async ({ url }) => void assert.match(await said(modernClient(url), 'die'), /exit code 3/)],
  [
    'fell asleep',
    async ({ sessions }, later) => {
      later();
      sessions.tick();
      await until('sleep', () => sessions.counts.children === 0);
    },
  ],
];
for (const [what, lose] of LOSSES) {
  test(`a subscription goes on at the child that comes after one that ${what}, and its client does not notice`, async () => {
    let now = Date.now();
    await using bridge = await start({ now: () => now });
    const client = modernClient(bridge.url);
    const before = await said(client, 'life');
    const { next } = await listen(client, { resourceSubscriptions: ['a:1'], x: [1.5] }, { id: 'mine' });
    await lose(bridge, () => {
      now += 400_000;
    });
    assert.notEqual(await said(client, 'life'), before);
    await said(client, 'touch', { uri: 'a:1' });
    const { method, subscription } = await next();
    assert.deepEqual([method, subscription], ['notifications/resources/updated', 'mine']);
    const asked = (await listOf(client, 'received')).filter((line) => line.includes('subscriptions/listen'));
    assert.equal(asked.length, 1);
    assert.match(asked[0] ?? '', /"notifications":\{"resourceSubscriptions":\["a:1"\],"x":\[1.5\]\}/);
  });
}

test('a subscription moves to the child with the fresh token, while the call of the other is finished', async () => {
  let now = Date.now();
  let expiresAt = now + 100_000;
  await using bridge = await start({ now: () => now, upstream: () => access(expiresAt) });
  const client = modernClient(bridge.url);
  const before = await said(client, 'life');
  const { next } = await listen(client, { toolsListChanged: true }, { id: 'mine' });
  const abort = new AbortController();
  const busy = eventsOf(
    await client.post(
      'tools/call',
      { name: 'never' },
      { meta: { progressToken: 'p' }, signal: abort.signal },
    ),
  );
  assert.equal((await nextEvent(busy)).params?.progressToken, 'p');
  now += 50_000;
  expiresAt = now + 10_000_000;
  bridge.sessions.tick();
  await until('the next child', async () => (await said(client, 'life')) !== before);
  assert.equal(bridge.sessions.counts.children, 2);
  await said(client, 'touch', { uri: 'a:1' });
  assert.equal((await next()).method, 'notifications/tools/list_changed');
  await said(client, 'dismiss', { how: 'result' });
  assert.equal((await next()).id, 'mine', 'one change is told once');
  assert.equal(bridge.sessions.counts.children, 2, 'and the old child has still something to do');
  abort.abort();
  await assert.rejects(busy.next());
  await until('its end', () => bridge.sessions.counts.children === 1);
});

test('a subscription that a child dies of is an error', async () => {
  await using bridge = await start({ traits: 'deaf' });
  const { error } = await modernClient(bridge.url).call('subscriptions/listen', { notifications: {} });
  assert.equal(error?.data?.reason, 'child-ended');
});

test('subscriptions end in due form when the broker is about to stop', async () => {
  await using bridge = await start();
  const { next, events } = await listen(modernClient(bridge.url), { toolsListChanged: true }, { id: 'mine' });
  bridge.sessions.hangUp();
  const { id, result, subscription } = await next();
  assert.deepEqual([id, result?.resultType, subscription], ['mine', 'complete', 'mine']);
  assert.equal((await events.next()).done, true);
});

test('subscriptions end when their grant does', async () => {
  await using bridge = await start();
  const { next } = await listen(modernClient(bridge.url), { toolsListChanged: true }, { id: 'mine' });
  bridge.sessions.closeWhere(({ userId }) => userId === 'ann');
  assert.equal((await next()).id, 'mine');
});

test('a user has so many subscriptions and no more, and those are not too long', async () => {
  await using bridge = await start();
  const client = modernClient(bridge.url);
  const abort = new AbortController();
  const open = () => client.post('subscriptions/listen', { notifications: {} }, { signal: abort.signal });
  const all = await Promise.all(Array.from({ length: 100 }, open));
  assert.ok(all.every(({ headers }) => headers.get('content-type')?.startsWith('text/event-stream')));
  const { error } = await client.call('subscriptions/listen', { notifications: {} });
  assert.equal(error?.data?.reason, 'too-many-subscriptions');
  assert.equal(
    (
      await modernClient(bridge.url, 'bob.1').post(
        'subscriptions/listen',
        { notifications: {} },
        { signal: abort.signal },
      )
    ).status,
    200,
  );
  abort.abort();
  await until('room', async () => (await listOf(client, 'cancelled')).length === 100);
  await listen(client, { toolsListChanged: true });
  const long = { resourceSubscriptions: ['x'.repeat(256 * 1024)] };
  assert.equal((await client.call('subscriptions/listen', { notifications: long })).error?.code, -32602);
});

test('headers that repeat an argument are checked against the list of the server', async () => {
  await using bridge = await start({ traits: 'headers' });
  const client = modernClient(bridge.url);
  const call = (region: string, header?: string) =>
    client.post(
      'tools/call',
      { name: 'meta', arguments: { region } },
      header === undefined ? {} : { headers: { 'Mcp-Param-Region': header } },
    );
  assert.equal((await call('eu', 'eu')).status, 200);
  const refused = await call('eu', 'us');
  assert.equal(refused.status, 400);
  assert.equal((await jsonOf(refused)).error.code, -32020);
  assert.equal((await call('eu')).status, 400);
  const lists = (await listOf(client, 'received')).filter((line) => line.includes('"tools/list"'));
  assert.equal(lists.length, 1);
});

test('a call whose child dies is an error, and is not made again', async () => {
  await using bridge = await start();
  const client = modernClient(bridge.url);
  const { error } = await client.tool('die');
  assert.equal(error?.data?.reason, 'child-ended');
  assert.equal((await listOf(client, 'received')).filter((line) => line.includes('"die"')).length, 0);
});

test('a server that turns out to be of the other era is an error that passes', async () => {
  await using bridge = await start({ program: 'server.js' });
  const { error } = await modernClient(bridge.url).call('tools/list');
  assert.equal(error?.data?.reason, 'era-changed');
});

test('a client whose words its server refuses hears why, and disturbs nobody', async () => {
  await using bridge = await start({ traits: 'strict' });
  const client = modernClient(bridge.url);
  const nameless = { meta: { [META.clientInfo]: {} } };
  for (let time = 1; time <= 2; time += 1) {
    const { error } = await client.call('tools/list', {}, nameless);
    assert.deepEqual([error?.code, error?.message], [-32602, 'a client has a name']);
  }
  const life = await said(client, 'life');
  assert.equal((await client.call('server/discover', {}, nameless)).error?.code, -32602);
  assert.equal(await said(client, 'life'), life);
});

test('a server that is silently replaced by one of the other era is found out, whatever it refuses a greeting with', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fjmcp-test-'));
  const program = join(folder, 'server.mjs');
  const url = pathToFileURL(program).href;
  const become = (fixture: string) =>
    writeFile(program, `import '${pathToFileURL(join(FIXTURES, fixture)).href}'`);
  await become('modern-server.js');
  // What it is told to run is no file by name: that it has changed cannot be seen.
  const args = ['-e', `import('${url}')`];
  const entry = { name: 'main', command: process.execPath, args, protocol: 'auto' } as const;
  const clock = { now: 1_000_000 };
  await using bridge = await startBridge({
    servers: [{ ...entry, env: { FIXTURE: 'vague' } }],
    now: () => clock.now,
  });
  const client = modernClient(bridge.url);
  await said(client, 'life');
  await become('server.js');
  await client.tool('die');
  clock.now += 600_000;
  await until('the other era', async () => {
    const { error } = await client.call('tools/list');
    return error === undefined && bridge.store.eras.get('main')?.era === 'legacy';
  });
  await rm(folder, { recursive: true });
});

test('a server that is replaced by one of the other era ends what is listened to, and is served as what it is', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fjmcp-test-'));
  const program = join(folder, 'server.mjs');
  const become = (fixture: string) =>
    writeFile(program, `import '${pathToFileURL(join(FIXTURES, fixture)).href}'`);
  await become('modern-server.js');
  const entry = {
    name: 'main',
    command: process.execPath,
    args: [program],
    env: {},
    protocol: 'auto',
  } as const;
  await using bridge = await startBridge({ servers: [entry] });
  const client = modernClient(bridge.url);
  const { next } = await listen(client, { toolsListChanged: true }, { id: 'mine' });
  await become('server.js');
  await said(client, 'die');
  assert.equal((await client.call('tools/list')).error?.data?.reason, 'era-changed');
  assert.equal((await next()).id, 'mine');
  assert.equal((await client.call('tools/list')).error, undefined);
  await rm(folder, { recursive: true });
});
