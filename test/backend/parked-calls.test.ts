/** Calls of modern clients to legacy children that ask, over HTTP and with real processes. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { MAX_PARKED_PER_USER, PARKED_MS } from '../../src/backend/parked-calls.js';
import { ALL, type AskedClient, askedClient, type Result } from '../fixtures/asked-client.js';
import type { Step } from '../fixtures/asking-server.js';
import { access, askingEntry, type Bridge, type BridgeOptions, startBridge } from '../fixtures/bridge.js';
import { eventsOf, nextEvent } from '../fixtures/client.js';
import { type Asking, modernBody, modernHeaders } from '../fixtures/modern-client.js';
import { until } from '../fixtures/until.js';

const start = (options: BridgeOptions = {}): Promise<Bridge> =>
  startBridge({ servers: [askingEntry()], ...options });

/** A bridge whose clock stands still until it is moved. */
async function startAt(options: BridgeOptions = {}) {
  const clock = { now: 1_000_000 };
  const bridge = await start({ ...options, now: () => clock.now });
  const pass = (ms: number, stepMs = ms) => {
    for (let passed = 0; passed < ms; passed += stepMs) {
      clock.now += Math.min(stepMs, ms - passed);
      bridge.sessions.tick();
      bridge.modern.tick();
    }
  };
  return { bridge, pass, clock, [Symbol.asyncDispose]: () => bridge[Symbol.asyncDispose]() };
}

const script = (...steps: readonly Step[]) => ({ name: 'script', arguments: { steps } });
const elicit = (name: string): Step => ({
  ask: name,
  method: 'elicitation/create',
  params: { message: name, requestedSchema: { type: 'object', properties: {} } },
});
const sample = (name: string): Step => ({
  ask: name,
  method: 'sampling/createMessage',
  params: { messages: [], maxTokens: 1 },
});
const roots = (name: string): Step => ({ ask: name, method: 'roots/list' });
const wait = (...names: string[]): Step => ({ wait: names });

const ACCEPTED = { action: 'accept', content: { n: 1 } };
const SAMPLED = { role: 'assistant', content: { type: 'text', text: 'x' }, model: 'm' };
const ROOTS = { roots: [{ uri: 'file:///x' }] };
const GOOD: Readonly<Record<string, object>> = {
  'elicitation/create': ACCEPTED,
  'sampling/createMessage': SAMPLED,
  'roots/list': ROOTS,
};

/** What a child hears that asks to elicit. */
const NOT_DECLARED = {
  error: {
    code: -32021,
    message: 'Missing required client capability',
    data: { requiredCapabilities: { elicitation: { form: {} } } },
  },
};

/** Good answers to all that is asked. */
const answersTo = ({ inputRequests = {} }: Result) =>
  Object.fromEntries(Object.entries(inputRequests).map(([key, { method }]) => [key, GOOD[method]]));

function back(result: Result, inputResponses: object = answersTo(result)) {
  assert.equal(result.resultType, 'input_required');
  return { inputResponses, requestState: result.requestState };
}

interface Line {
  readonly id?: unknown;
  readonly method?: string;
  readonly error?: { readonly code: number };
}

const complete = (client: AskedClient, name: string, value: string) => {
  const params = { ref: { type: 'ref/prompt', name: 'p' }, argument: { name, value } };
  return client.result('completion/complete', params);
};
const received = async (client: AskedClient): Promise<Line[]> => {
  const { received: lines = [] } = await complete(client, 'received', '');
  return lines.map((line) => JSON.parse(line));
};
const methodsIn = (lines: readonly Line[]) => lines.map(({ method }) => method ?? 'answer');
/** What the child then does at once, it has done. */
const release = async (client: AskedClient, hold: string) => {
  await complete(client, 'release', hold);
  await received(client);
};
const reasonOf = ({ error }: Awaited<ReturnType<AskedClient['answer']>>) => error?.data?.reason;

test('what a child asks at once is asked in one result, and its answers come out right', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('e'), sample('s'), roots('r'), wait('e', 's', 'r'));
  const asked = await client.result('tools/call', call, 'first');
  assert.deepEqual(asked.inputRequests, {
    'elicitation-1': {
      method: 'elicitation/create',
      params: { message: 'e', requestedSchema: { type: 'object', properties: {} } },
    },
    'sampling-2': { method: 'sampling/createMessage', params: { messages: [], maxTokens: 1 } },
    'roots-3': { method: 'roots/list' },
  });
  const answer = await client.answer('tools/call', { ...call, ...back(asked) }, 'second');
  assert.equal(answer.id, 'second');
  assert.equal(answer.result?.resultType, 'complete');
  assert.deepEqual(answer.result?.heard, { e: ACCEPTED, s: SAMPLED, r: ROOTS });
});

test('each round has a state of its own, and a state is good for its round alone', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), wait('a'), sample('b'), wait('b'));
  const first = await client.result('tools/call', call);
  const second = await client.result('tools/call', { ...call, ...back(first) });
  assert.deepEqual(Object.keys(second.inputRequests ?? {}), ['sampling-2']);
  assert.notEqual(second.requestState, first.requestState);
  const again = await client.answer('tools/call', { ...call, ...back(first) });
  assert.equal(again.error?.code, -32602);
  const done = await client.result('tools/call', { ...call, ...back(second) });
  assert.deepEqual(done.heard, { a: ACCEPTED, b: SAMPLED });
  const late = await client.answer('tools/call', { ...call, ...back(second) });
  assert.equal(reasonOf(late), 'call-gone');
});

test('prompts and resources ask as tools do, and what was asked for once is not to be kept', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const { arguments: given } = script(elicit('a'), wait('a'));
  const prompt = { name: 'p', arguments: given };
  const promptAsked = await client.result('prompts/get', prompt);
  assert.deepEqual((await client.result('prompts/get', { ...prompt, ...back(promptAsked) })).heard, {
    a: ACCEPTED,
  });
  const resource = { uri: 'file:///a', arguments: given };
  const resourceAsked = await client.result('resources/read', resource);
  const read = await client.result('resources/read', { ...resource, ...back(resourceAsked) });
  assert.deepEqual([read.heard, read.ttlMs], [{ a: ACCEPTED }, 0]);
});

test('what is read is good for as long as the entry says, and never if the request brought input', async () => {
  await using bridge = await start({ servers: [{ ...askingEntry(), ttlSeconds: 90 }] });
  const client = askedClient(bridge.url);
  const ttlOf = async (uri: string, steps: readonly Step[], input: (asked: Result) => object) => {
    const { arguments: given } = script(...steps);
    const asked = await client.result('resources/read', { uri, arguments: given });
    const again = { uri, arguments: given, ...input(asked) };
    return [asked.ttlMs, (await client.result('resources/read', again)).ttlMs];
  };
  const visit = { mode: 'url', url: 'https://forge.example/x', elicitationId: 'v', message: 'Sign in' };
  const data = { elicitations: [visit] };
  assert.deepEqual(await ttlOf('file:///plain', [], () => ({})), [90_000, 90_000]);
  assert.deepEqual(await ttlOf('file:///asked', [elicit('a'), wait('a')], back), [undefined, 0]);
  assert.deepEqual(
    await ttlOf('file:///visit', [{ once: { code: -32042, message: 'visit', data } }], back),
    [undefined, 0],
    'a call that is made anew after a visit',
  );
  assert.deepEqual(await ttlOf('file:///stateless', [], () => ({ inputResponses: {} })), [90_000, 0]);
});

test('of two retries at once one wins, and the other harms nothing', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), wait('a'), { hold: 'gate' });
  const retry = { ...call, ...back(await client.result('tools/call', call)) };
  const both = [client.answer('tools/call', retry), client.answer('tools/call', retry)];
  const loser = await Promise.race(both);
  assert.equal(loser.error?.code, -32602);
  await release(client, 'gate');
  const [one, other] = await Promise.all(both);
  assert.deepEqual((one?.result ?? other?.result)?.heard, { a: ACCEPTED });
});

test('a retry that is not what it should be is refused, and the call waits on', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), wait('a'));
  const asked = await client.result('tools/call', call);
  const retry = { ...call, ...back(asked) };
  const state = asked.requestState ?? '';
  const wrong: Readonly<Record<string, () => Promise<{ error?: { code: number } }>>> = {
    'an altered state': () =>
      client.answer('tools/call', {
        ...retry,
        requestState: `${state.slice(0, -1)}${state.at(-1) === 'A' ? 'B' : 'A'}`,
      }),
    'a state that is no string': () => client.answer('tools/call', { ...retry, requestState: 1 }),
    'other arguments': () => client.answer('tools/call', { ...retry, ...script(elicit('a')) }),
    'another method': () => client.answer('prompts/get', retry),
    'another user': () => askedClient(bridge.url, { bearer: 'bob.1' }).answer('tools/call', retry),
    'another grant': () => askedClient(bridge.url, { bearer: 'ann.2' }).answer('tools/call', retry),
    'answers that are no object': () => client.answer('tools/call', { ...retry, inputResponses: null }),
  };
  for (const [what, say] of Object.entries(wrong)) assert.equal((await say()).error?.code, -32602, what);
  assert.deepEqual((await client.result('tools/call', retry)).heard, { a: ACCEPTED });
});

test('what is missing or no answer is asked for again, and what was good is kept', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), sample('b'), wait('a', 'b'));
  const asked = await client.result('tools/call', call);
  const some = { 'sampling-2': SAMPLED, 'elicitation-1': { n: 1 }, stranger: {} };
  const again = await client.result('tools/call', { ...call, ...back(asked, some) });
  assert.deepEqual(Object.keys(again.inputRequests ?? {}), ['elicitation-1']);
  const nothing = await client.result('tools/call', { ...call, requestState: again.requestState });
  assert.deepEqual(nothing.inputRequests, again.inputRequests);
  const done = await client.result('tools/call', { ...call, ...back(nothing) });
  assert.deepEqual(done.heard, { a: ACCEPTED, b: SAMPLED });
});

test('answers without a state make a new call', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), wait('a'));
  const asked = await client.result('tools/call', call);
  const anew = await client.result('tools/call', { ...call, inputResponses: answersTo(asked) });
  assert.equal(anew.resultType, 'input_required');
  assert.notEqual(anew.requestState, asked.requestState);
});

test('a client is not asked for what it did not declare: the child hears so', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url, { capabilities: { sampling: {} } });
  const call = script(elicit('e'), sample('s'), { ask: 'x', method: 'x/y' }, wait('e', 's', 'x'));
  const asked = await client.result('tools/call', call);
  assert.deepEqual(Object.keys(asked.inputRequests ?? {}), ['sampling-1']);
  const { heard } = await client.result('tools/call', { ...call, ...back(asked) });
  assert.deepEqual(heard, {
    e: NOT_DECLARED,
    s: SAMPLED,
    x: { error: { code: -32601, message: 'Method not found' } },
  });
});

test('a client that can do less when it comes back is not asked for the rest again', async () => {
  await using bridge = await start();
  const call = script(elicit('e'), sample('s'), wait('e', 's'));
  const asked = await askedClient(bridge.url).result('tools/call', call);
  const poorer = askedClient(bridge.url, { capabilities: { sampling: {} } });
  const retry = { ...call, ...back(asked, { 'sampling-2': SAMPLED }) };
  const { heard } = await poorer.result('tools/call', retry);
  assert.deepEqual(heard, { e: NOT_DECLARED, s: SAMPLED });
});

test('progress and log messages go where the client is, under the token it has now', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script({ progress: 1 }, elicit('a'), wait('a'), { progress: 2 }, { log: 'there' });
  const LEVEL = 'io.modelcontextprotocol/logLevel';
  const before = await client.say('tools/call', {
    ...call,
    _meta: { progressToken: 'old', [LEVEL]: 'info' },
  });
  assert.deepEqual(
    before.map(({ method, params }) => [method, params?.progressToken]),
    [
      ['notifications/progress', 'old'],
      [undefined, undefined],
    ],
  );
  const asked = before.at(-1)?.result;
  assert.ok(asked !== undefined);
  const after = await client.say('tools/call', {
    ...call,
    ...back(asked),
    _meta: { progressToken: 7, [LEVEL]: 'info' },
  });
  assert.deepEqual(
    after.map(({ method, params }) => [method, params?.progressToken ?? params?.data]),
    [
      ['notifications/progress', 7],
      ['notifications/message', 'there'],
      [undefined, undefined],
    ],
  );
});

test('a client that leaves after its retry cancels the call; one that leaves while it is asked does not', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), wait('a'), { progress: 1 }, { hold: 'for ever' });
  const retry = {
    ...call,
    ...back(await client.result('tools/call', { ...call, _meta: { progressToken: 1 } })),
  };
  assert.ok(!methodsIn(await received(client)).includes('notifications/cancelled'));
  const leave = new AbortController();
  const response = await client.post(
    'tools/call',
    { ...retry, _meta: { progressToken: 2 } },
    { signal: leave.signal },
  );
  await nextEvent(eventsOf(response));
  leave.abort();
  await until('the cancellation', async () =>
    methodsIn(await received(client)).includes('notifications/cancelled'),
  );
  assert.equal(bridge.sessions.counts.calls, 0);
});

test('a call that nobody comes back to is cancelled, its questions are refused, and its state is no good', async () => {
  await using at = await startAt();
  const client = askedClient(at.bridge.url);
  const call = script(elicit('a'), wait('a'), { hold: 'for ever' });
  const asked = await client.result('tools/call', call);
  at.pass(PARKED_MS - 1, 1000);
  assert.equal(
    at.bridge.sessions.counts.calls,
    1,
    'neither its time nor its child ends while its client thinks',
  );
  at.pass(1);
  assert.equal(at.bridge.sessions.counts.calls, 0);
  const lines = (await received(client)).slice(-3);
  assert.deepEqual(methodsIn(lines), ['notifications/cancelled', 'answer', 'completion/complete']);
  assert.equal(lines[1]?.error?.code, -32603);
  const late = await client.answer('tools/call', { ...call, ...back(asked) });
  assert.match(`${late.error?.code} ${late.error?.message}`, /^-32602 .*expired/);
});

test('a retry in the last moment goes on, however late its child answers', async () => {
  await using at = await startAt();
  const client = askedClient(at.bridge.url);
  const call = script(elicit('a'), wait('a'), { hold: 'gate' });
  const asked = await client.result('tools/call', call);
  at.pass(PARKED_MS - 1, 1000);
  const retried = client.answer('tools/call', { ...call, ...back(asked) });
  await until('the answer', async () => methodsIn(await received(client)).includes('answer'));
  at.pass(30_000, 1000);
  await release(client, 'gate');
  assert.deepEqual((await retried).result?.heard, { a: ACCEPTED });
});

test('a call whose client has come back takes no longer than any other', async () => {
  await using at = await startAt();
  const client = askedClient(at.bridge.url);
  const call = script(elicit('a'), wait('a'), { hold: 'for ever' });
  const asked = await client.result('tools/call', call);
  at.pass(PARKED_MS / 2, 1000);
  const retried = client.answer('tools/call', { ...call, ...back(asked) });
  await until('the answer', async () => methodsIn(await received(client)).includes('answer'));
  at.pass(61_000, 1000);
  assert.equal(reasonOf(await retried), 'timed-out');
});

test('what a child takes back is not asked for again', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), elicit('b'), { hold: 'asked' }, { takeBack: 'a' }, wait('b'));
  const asked = await client.result('tools/call', call);
  assert.deepEqual(Object.keys(asked.inputRequests ?? {}), ['elicitation-1', 'elicitation-2']);
  await release(client, 'asked');
  const retry = { ...call, ...back(asked, { 'elicitation-2': ACCEPTED }) };
  assert.deepEqual((await client.result('tools/call', retry)).heard, { b: ACCEPTED });
});

test('a child that needs no answer any more goes on, and what comes of it waits for the retry', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), { hold: 'asked' }, { takeBack: 'a' }, { log: 'unheard' });
  const asked = await client.result('tools/call', call);
  await release(client, 'asked');
  await until('the end', () => bridge.sessions.counts.calls === 0);
  const answer = await client.answer('tools/call', { ...call, ...back(asked) }, 'mine');
  assert.deepEqual([answer.id, answer.result?.heard], ['mine', {}]);
  assert.equal(reasonOf(await client.answer('tools/call', { ...call, ...back(asked) })), 'call-gone');
});

test('what a child asks late is asked for when its client comes back', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), { hold: 'asked' }, sample('b'), { hold: 'more' }, wait('a', 'b'));
  const first = await client.result('tools/call', call);
  await release(client, 'asked');
  await release(client, 'more');
  const second = await client.result('tools/call', { ...call, ...back(first) });
  assert.deepEqual(Object.keys(second.inputRequests ?? {}), ['sampling-2']);
  const { heard } = await client.result('tools/call', { ...call, ...back(second) });
  assert.deepEqual(heard, { a: ACCEPTED, b: SAMPLED });
});

test('a question that was taken for one of another call is not lost when that call ends', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const [asking, other] = [script({ hold: 'a' }, elicit('x'), wait('x')), script({ hold: 'b' })];
  const calls = async () => methodsIn(await received(client)).filter((method) => method === 'tools/call');
  const asked = client.result('tools/call', asking);
  await until('the first', async () => (await calls()).length === 1);
  const mistaken = client.result('tools/call', other);
  await until('the second', async () => (await calls()).length === 2);
  await release(client, 'a');
  const taken = await mistaken;
  assert.equal(taken.resultType, 'input_required', 'the newest is asked');
  assert.ok(bridge.events.some(({ event }) => event === 'server.interactive'));
  await release(client, 'b');
  assert.deepEqual((await client.result('tools/call', { ...asking, ...back(await asked) })).heard, {
    x: ACCEPTED,
  });
  assert.deepEqual((await client.result('tools/call', { ...other, ...back(taken) })).heard, {});
});

test('of two calls of one child the one whose client came back last is asked', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const first = script(elicit('x'), wait('x'), sample('y'), wait('y'));
  const asked = await client.result('tools/call', first);
  const later = client.result('tools/call', script({ hold: 'b' }));
  const isThere = (line: Line) => line.method === 'tools/call';
  await until('the later one', async () => (await received(client)).filter(isThere).length === 2);
  const again = await client.result('tools/call', { ...first, ...back(asked) });
  assert.deepEqual(Object.keys(again.inputRequests ?? {}), ['sampling-2']);
  assert.deepEqual((await client.result('tools/call', { ...first, ...back(again) })).heard, {
    x: ACCEPTED,
    y: SAMPLED,
  });
  await release(client, 'b');
  assert.deepEqual((await later).heard, {});
});

test('the questions that a call leaves behind are refused, and never become those of another', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const asks = await client.result('tools/call', script(elicit('a'), { hold: 'asked' }));
  await release(client, 'asked');
  await until('the end', () => bridge.sessions.counts.calls === 0);
  const next = await client.result('tools/call', script(sample('b'), wait('b')));
  assert.deepEqual(Object.keys(next.inputRequests ?? {}), ['sampling-1']);
  const refused = (await received(client)).find(({ id }) => id === 'ask-1');
  assert.equal(refused?.error?.code, -32603);
  assert.equal(asks.resultType, 'input_required');
});

test('a child that dies while its client is asked leaves an error that says so', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), wait('a'));
  const asked = await client.result('tools/call', call);
  await client.answer('tools/call', script({ die: true }));
  const answer = await client.answer('tools/call', { ...call, ...back(asked) });
  assert.equal(reasonOf(answer), 'child-ended');
  assert.equal((await client.result('tools/call', call)).resultType, 'input_required', 'the next call works');
});

test('a child that dies while the retry is under way leaves an error', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), wait('a'), { die: true });
  const answer = await client.answer('tools/call', {
    ...call,
    ...back(await client.result('tools/call', call)),
  });
  assert.equal(reasonOf(answer), 'child-ended');
});

test('after a restart a state is known, and its client told to call again', async () => {
  const sealingKey = randomBytes(32);
  const call = script(elicit('a'), wait('a'));
  let asked: Result;
  {
    await using bridge = await start({ sealingKey });
    asked = await askedClient(bridge.url).result('tools/call', call);
  }
  await using bridge = await start({ sealingKey });
  const { error } = await askedClient(bridge.url).answer('tools/call', { ...call, ...back(asked) });
  assert.equal(error?.data?.reason, 'call-gone');
  assert.match(error?.message ?? '', /make the call again/i);
});

test('a parked call outlives the replacement of its child, but not the token of that child', async () => {
  let life = 0;
  const at = await startAt({
    upstream: () => {
      life += 1;
      return access(1_000_000 + life * 300_000);
    },
  });
  await using _at = at;
  const client = askedClient(at.bridge.url);
  const call = script(elicit('a'), wait('a'));
  const [first, second] = [await client.result('tools/call', call), await client.result('tools/call', call)];
  at.pass(250_000, 1000);
  await until(
    'the next child',
    () => life === 2 && at.bridge.events.filter(({ event }) => event === 'child.started').length === 2,
  );
  assert.deepEqual(methodsIn(await received(client)).slice(0, 2), [
    'initialize',
    'notifications/initialized',
  ]);
  assert.deepEqual((await client.result('tools/call', { ...call, ...back(first) })).heard, { a: ACCEPTED });
  at.pass(51_000, 1000);
  const late = await client.answer('tools/call', { ...call, ...back(second) });
  assert.equal(reasonOf(late), 'token-ended');
});

test('a child of which all calls wait for their clients makes room for another', async () => {
  await using bridge = await start({ limits: { maxChildrenPerUser: 1 } });
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), wait('a'));
  const asked = await client.result('tools/call', call);
  const other = askedClient(bridge.url, { capabilities: { sampling: {} } });
  assert.deepEqual((await other.result('tools/call', script())).heard, {});
  const { error } = await client.answer('tools/call', { ...call, ...back(asked) });
  assert.equal(error?.data?.reason, 'place-needed');
  assert.match(error?.message ?? '', /make the call again/i);
});

test('a user has so many calls parked, and the one parked first is given up for the next', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const call = script(elicit('a'), wait('a'));
  const first = await client.result('tools/call', call);
  let last = first;
  for (let i = 0; i < MAX_PARKED_PER_USER; i += 1) last = await client.result('tools/call', call);
  assert.equal(bridge.sessions.counts.calls, MAX_PARKED_PER_USER);
  assert.equal(reasonOf(await client.answer('tools/call', { ...call, ...back(first) })), 'call-gone');
  assert.deepEqual((await client.result('tools/call', { ...call, ...back(last) })).heard, { a: ACCEPTED });
});

test('what is kept of a user has a bound in bytes, too', async () => {
  await using bridge = await start({ limits: { maxMessageBytes: 100_000 } });
  const client = askedClient(bridge.url);
  const call = { ...script(elicit('a'), wait('a')), padding: 'x'.repeat(90_000) };
  const first = await client.result('tools/call', call);
  let last = first;
  for (let i = 0; i < 4; i += 1) last = await client.result('tools/call', call);
  assert.equal(bridge.sessions.counts.calls, 4);
  assert.equal(reasonOf(await client.answer('tools/call', { ...call, ...back(first) })), 'call-gone');
  assert.deepEqual((await client.result('tools/call', { ...call, ...back(last) })).heard, { a: ACCEPTED });
});

test('a visit that the server requires is asked for, and the call is made again', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const visit = { mode: 'url', url: 'https://forge.example/x', elicitationId: 'v', message: 'Sign in' };
  const call = script({ fail: { code: -32042, message: 'visit', data: { elicitations: [visit] } } });
  const asked = await client.result('tools/call', call);
  assert.deepEqual(asked.inputRequests, {
    'elicitation-1': { method: 'elicitation/create', params: visit },
  });
  const again = await client.result('tools/call', { ...call, ...back(asked) });
  assert.equal(again.resultType, 'input_required');
  const calls = methodsIn(await received(client)).filter((method) => method === 'tools/call');
  assert.equal(calls.length, 2);
  const declined = { 'elicitation-1': { action: 'decline' } };
  assert.equal(
    reasonOf(await client.answer('tools/call', { ...call, ...back(again, declined) })),
    'declined',
  );
  const unable = askedClient(bridge.url, { capabilities: { elicitation: {} } });
  assert.equal((await unable.answer('tools/call', call)).error?.code, -32603);
});

test('a ping of the child is answered by the bridge', async () => {
  await using bridge = await start();
  const client = askedClient(bridge.url);
  const { heard } = await client.result('tools/call', script({ ask: 'p', method: 'ping' }, wait('p')));
  assert.deepEqual(heard, { p: {} });
});

test('a number as large as any, and what nobody knows, pass both ways byte for byte', async () => {
  await using bridge = await start();
  const odd = '{"big":12345678901234567890,"one":1.0,"hundred":1e2,"ä":"\\u00e4","unknown":[null]}';
  const question = `{"message":"a","requestedSchema":{"type":"object","properties":{}},"odd":${odd}}`;
  const call = script({ ask: 'a', method: 'elicitation/create', params: question }, wait('a'), {
    result: `{"content":[],"odd":${odd}}`,
  });
  const asking: Asking = { capabilities: ALL };
  const post = async (params: object) => {
    const response = await fetch(bridge.url, {
      method: 'POST',
      headers: { Authorization: 'Bearer ann.1', ...modernHeaders('tools/call', call) },
      body: modernBody('tools/call', params, asking).replace('"ODD"', odd),
    });
    return response.text();
  };
  const asked = await post(call);
  assert.ok(asked.includes(`{"elicitation-1":{"method":"elicitation/create","params":${question}}}`), asked);
  const accepted = { 'elicitation-1': { action: 'accept', content: 'ODD' } };
  const done = await post({ ...call, ...back(JSON.parse(asked).result, accepted) });
  assert.ok(done.includes(`"content":[],"odd":${odd}}`), done);
  const { received: lines = [] } = await complete(askedClient(bridge.url), 'received', '');
  const [answer = ''] = lines.filter((line) => line.includes('"ask-1"'));
  assert.ok(answer.trimEnd().endsWith(`"result":{"action":"accept","content":${odd}}}`), answer);
});
