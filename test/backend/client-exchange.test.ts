/**
 * Each request of a modern client is counted, and counted once, however it ends and whoever ends it; and what is begun for
 * a client that has left is undone.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { silent } from '../../src/backend/answers.js';
import { ClientExchange } from '../../src/backend/client-exchange.js';
import { CALL_OUTCOMES, NO_OBSERVER } from '../../src/backend/observer.js';
import { PARKED_MS } from '../../src/backend/parked-calls.js';
import { MAX_ROUNDS } from '../../src/backend/rounds.js';
import type { GrantId, UserId } from '../../src/base/ids.js';
import { access, type Bridge, type BridgeOptions, FIXTURES, startBridge } from '../fixtures/bridge.js';
import { eventsOf, nextEvent } from '../fixtures/client.js';
import { CLIENT_INFO, modernRequest } from '../fixtures/modern.js';
import { type Asking, type ModernClient, modernClient } from '../fixtures/modern-client.js';
import { until } from '../fixtures/until.js';

const ANN = { userId: 'ann' as UserId, grantId: 'ann.1' as GrantId };
const fixture = (file: string, protocol: 'legacy' | 'modern' | 'auto', FIXTURE = '') => ({
  name: 'main',
  command: process.execPath,
  args: [join(FIXTURES, `${file}.js`)],
  env: { FIXTURE },
  protocol,
});
const LEGACY = { servers: [fixture('server', 'legacy', 'rich')] };
const ASKING = { servers: [fixture('asking-server', 'legacy')] };
const MODERN = { servers: [fixture('modern-server', 'modern', 'headers')] };

/** Where the tokens of children come from, if they come at all. */
interface Upstream {
  readonly isAsked: () => boolean;
  readonly breakDown: () => void;
}

interface Stage {
  readonly bridge: Bridge;
  readonly client: ModernClient;
  readonly upstream: Upstream;
  readonly outcomes: readonly string[];
  readonly pass: (ms: number) => void;
}

interface Options extends BridgeOptions {
  /** No child gets a token. */
  readonly stuck?: true;
}

/** What is done, and how the requests that this makes are counted, in any order. */
type Row = readonly [
  what: string,
  options: Options,
  act: (stage: Stage) => Promise<unknown>,
  outcomes: readonly string[],
];

const ELICITING: Asking = { capabilities: { elicitation: { form: {}, url: {} } } };
const ASK = { ask: 'a', method: 'elicitation/create', params: { message: 'a', requestedSchema: {} } };
const script = (...steps: readonly object[]) => ({ name: 'script', arguments: { steps } });
const WAITING = script(ASK, { wait: ['a'] });
const PLACE = { mode: 'url', url: 'https://forge.example/x', elicitationId: 'v', message: 'Sign in' };
const VISIT = script({ fail: { code: -32042, message: 'visit', data: { elicitations: [PLACE] } } });
/** As soon as it goes on it says so; then it stays. */
const HELD = script(ASK, { wait: ['a'] }, { progress: 1 }, { hold: 'gate' });
const REPORTED: Asking = { ...ELICITING, meta: { progressToken: 1 } };
const complete = ({ client }: Stage, name: string, value: string) =>
  client.call(
    'completion/complete',
    { ref: { type: 'ref/prompt', name: 'p' }, argument: { name, value } },
    ELICITING,
  );
const call = ({ client }: Stage, params: Readonly<Record<string, unknown>>) =>
  client.call('tools/call', params, ELICITING);
const back = ({ result }: Awaited<ReturnType<ModernClient['call']>>, action = 'accept') => ({
  requestState: result.requestState,
  inputResponses: Object.fromEntries(
    Object.keys(result.inputRequests ?? {}).map((key) => [key, { action, content: {} }]),
  ),
});
/** Makes a request, waits, and goes away. */
async function leave(
  { client }: Stage,
  method: string,
  params: Readonly<Record<string, unknown>>,
  when: () => Promise<unknown>,
  asking: Asking = {},
): Promise<void> {
  const gone = new AbortController();
  const left = client.post(method, params, { ...asking, signal: gone.signal }).then(
    (response) => response.text().catch(() => undefined),
    () => undefined,
  );
  await when();
  gone.abort();
  await left;
}
/** Once the list of tools is known, nothing but the client's calls is under way. */
const listed = ({ client }: Stage) => client.call('tools/list');
const working = ({ bridge }: Stage) => until('its call', () => bridge.sessions.counts.calls === 1);
async function leaveNever(stage: Stage): Promise<void> {
  await listed(stage);
  await leave(stage, 'tools/call', { name: 'never' }, () => working(stage));
}
async function listen({ client }: Stage, asking: Asking = {}) {
  const events = eventsOf(await client.post('subscriptions/listen', { notifications: {} }, asking));
  await nextEvent(events);
  return events;
}
const stuck =
  ({ upstream }: Stage) =>
  () =>
    until('it', upstream.isAsked);

const ROWS: readonly Row[] = [
  ['an answer', LEGACY, ({ client }) => client.tool('whoami'), ['answered']],
  ['an answer of a modern server', MODERN, ({ client }) => client.tool('life'), ['answered']],
  ['an error of the server', LEGACY, ({ client }) => client.tool('nothing'), ['rpc_error']],
  ['an error of a modern server', MODERN, ({ client }) => client.tool('nothing'), ['rpc_error']],
  ['a child that dies', LEGACY, ({ client }) => client.tool('die'), ['bridge_error']],
  ['a modern child that dies', MODERN, ({ client }) => client.tool('die'), ['bridge_error']],
  [
    'no answer in time',
    LEGACY,
    async (stage) => {
      await listed(stage);
      const waiting = stage.client.tool('never');
      await working(stage);
      stage.pass(61_000);
      await waiting;
    },
    ['answered', 'timeout'],
  ],
  ['a client that leaves', LEGACY, leaveNever, ['answered', 'cancelled']],
  ['a client that leaves a modern server', MODERN, leaveNever, ['answered', 'cancelled']],
  [
    'a client that leaves while nobody knows the era of its server',
    { servers: [fixture('server', 'auto')], stuck: true },
    (stage) => leave(stage, 'tools/list', {}, stuck(stage)),
    ['cancelled'],
  ],
  [
    'a client that leaves while its probe waits for the server',
    { ...LEGACY, stuck: true },
    (stage) => leave(stage, 'server/discover', {}, stuck(stage)),
    ['cancelled'],
  ],
  [
    'a client that leaves while the list of tools is asked for',
    { ...LEGACY, stuck: true },
    (stage) => leave(stage, 'tools/call', { name: 'echo' }, stuck(stage)),
    ['cancelled'],
  ],
  [
    'a client that leaves while a modern server is asked for its list of tools',
    { ...MODERN, stuck: true },
    (stage) => leave(stage, 'tools/call', { name: 'meta' }, stuck(stage)),
    ['cancelled'],
  ],
  [
    'a client that leaves while it waits for a child to itself',
    { ...LEGACY, limits: { maxChildrenPerUser: 1 } },
    async (stage) => {
      const { client } = stage;
      await listed(stage);
      const puzzling = client.tool('later', { ms: 100 });
      await working(stage);
      await client.tool('wonder', { method: 'roots/list' });
      await puzzling;
      await leave(stage, 'tools/call', { name: 'never' }, async () => {
        await working(stage);
        await leave(stage, 'tools/call', { name: 'never' }, async () => {
          // What asks nothing does not wait, and what was sent before it has come before its answer.
          await client.call('tools/list');
          await client.call('tools/list');
        });
        await until('its count', () => stage.outcomes.includes('cancelled'));
      });
    },
    ['answered', 'answered', 'answered', 'answered', 'answered', 'cancelled', 'cancelled'],
  ],
  [
    'a broker that stops',
    LEGACY,
    async (stage) => {
      await listed(stage);
      const waiting = stage.client.tool('never');
      await working(stage);
      await Promise.allSettled([waiting, stage.bridge[Symbol.asyncDispose]()]);
    },
    ['answered', 'bridge_error'],
  ],
  [
    'what breaks after its client has left',
    { servers: [fixture('server', 'auto')], stuck: true },
    async (stage) => {
      await leave(stage, 'tools/list', {}, stuck(stage));
      await until('its count', () => stage.outcomes.length > 0);
      stage.upstream.breakDown();
    },
    ['cancelled'],
  ],
  [
    'probes, from a child and from memory',
    LEGACY,
    async ({ client }) => [await client.call('server/discover'), await client.call('server/discover')],
    ['answered', 'answered'],
  ],
  [
    'probes of a modern server, from a child and from memory',
    MODERN,
    async ({ bridge, client, pass }) => {
      await client.call('server/discover');
      pass(301_000);
      await until('its end', () => bridge.sessions.counts.children === 0);
      await client.call('server/discover');
    },
    ['answered', 'answered'],
  ],
  [
    'a subscription whose client leaves',
    LEGACY,
    async (stage) => {
      const gone = new AbortController();
      await listen(stage, { signal: gone.signal });
      gone.abort();
    },
    ['cancelled'],
  ],
  [
    'a subscription at a modern server whose client leaves',
    MODERN,
    async (stage) => {
      const gone = new AbortController();
      await listen(stage, { signal: gone.signal });
      gone.abort();
    },
    ['cancelled'],
  ],
  [
    'a subscription that the broker ends',
    LEGACY,
    async (stage) => {
      const events = await listen(stage);
      stage.bridge.sessions.hangUp();
      await nextEvent(events);
    },
    ['answered'],
  ],
  [
    'a subscription that a modern server ends',
    MODERN,
    async (stage) => {
      const events = await listen(stage);
      await stage.client.tool('dismiss', { how: 'result' });
      await nextEvent(events);
    },
    ['answered', 'answered'],
  ],
  [
    'a subscription of which a modern server dies',
    { servers: [fixture('modern-server', 'modern', 'deaf')] },
    ({ client }) => client.call('subscriptions/listen', { notifications: {} }),
    ['bridge_error'],
  ],
  [
    'a subscription that is too long',
    MODERN,
    ({ client }) =>
      client.call('subscriptions/listen', {
        notifications: { resourceSubscriptions: ['x'.repeat(300_000)] },
      }),
    ['refused'],
  ],
  [
    'a call that asks, and its retry',
    ASKING,
    async (stage) => {
      await call(stage, { ...WAITING, ...back(await call(stage, WAITING)) });
    },
    ['answered', 'answered'],
  ],
  [
    'a retry with a state that was used already, while the first one runs and when it is over',
    ASKING,
    async (stage) => {
      const again = { ...HELD, ...back(await stage.client.call('tools/call', HELD, REPORTED)) };
      const first = await stage.client.post('tools/call', again, REPORTED);
      assert.equal((await call(stage, again)).error?.code, -32602);
      await complete(stage, 'release', 'gate');
      await first.text();
      assert.equal((await call(stage, again)).error?.data?.reason, 'call-gone');
    },
    ['answered', 'answered', 'answered', 'refused', 'bridge_error'],
  ],
  [
    'a retry with a state that has expired',
    ASKING,
    async (stage) => {
      const asked = await call(stage, WAITING);
      stage.pass(PARKED_MS + 1);
      await call(stage, { ...WAITING, ...back(asked) });
    },
    ['answered', 'refused'],
  ],
  [
    'a call whose child had to make room while its client was asked',
    { ...ASKING, limits: { maxChildrenPerUser: 1 } },
    async (stage) => {
      const asked = await call(stage, WAITING);
      await stage.client.call('tools/call', script());
      assert.equal((await call(stage, { ...WAITING, ...back(asked) })).error?.data?.reason, 'place-needed');
    },
    ['answered', 'answered', 'bridge_error'],
  ],
  [
    'a call whose client took longer than the token of its child lasts',
    { ...ASKING, upstream: () => access(1_300_000) },
    async (stage) => {
      const asked = await call(stage, WAITING);
      stage.pass(300_000);
      assert.equal((await call(stage, { ...WAITING, ...back(asked) })).error?.data?.reason, 'token-ended');
    },
    ['answered', 'bridge_error'],
  ],
  [
    'a call that nobody comes back to',
    ASKING,
    async (stage) => {
      await call(stage, WAITING);
      stage.pass(PARKED_MS + 1);
      await until('its end', () => stage.bridge.sessions.counts.calls === 0);
    },
    ['answered'],
  ],
  [
    'a call whose outcome nobody comes back for',
    ASKING,
    async (stage) => {
      await call(stage, script(ASK, { hold: 'gate' }));
      await complete(stage, 'release', 'gate');
      await until('its end', () => stage.bridge.sessions.counts.calls === 0);
      stage.pass(PARKED_MS + 1);
    },
    ['answered', 'answered'],
  ],
  [
    'a call whose outcome waits for its retry',
    ASKING,
    async (stage) => {
      const asking = script(ASK, { hold: 'gate' }, { fail: { code: 7, message: 'no' } });
      const asked = await call(stage, asking);
      await complete(stage, 'release', 'gate');
      await until('its end', () => stage.bridge.sessions.counts.calls === 0);
      assert.equal((await call(stage, { ...asking, ...back(asked) })).error?.code, 7);
    },
    ['answered', 'answered', 'rpc_error'],
  ],
  [
    'a retry whose client leaves',
    ASKING,
    async (stage) => {
      const again = { ...HELD, ...back(await stage.client.call('tools/call', HELD, REPORTED)) };
      const gone = new AbortController();
      await stage.client.post('tools/call', again, { ...REPORTED, signal: gone.signal });
      gone.abort();
      await until('its end', () => stage.bridge.sessions.counts.calls === 0);
    },
    ['answered', 'cancelled'],
  ],
  ['a visit that the server requires', ASKING, (stage) => call(stage, VISIT), ['answered']],
  [
    'a visit that the user declines',
    ASKING,
    async (stage) => call(stage, { ...VISIT, ...back(await call(stage, VISIT), 'decline') }),
    ['answered', 'refused'],
  ],
  [
    'a call that asks without end',
    ASKING,
    async (stage) => {
      const steps = Array.from({ length: MAX_ROUNDS + 1 }, (_, n) => [
        { ...ASK, ask: `${n}` },
        { wait: [`${n}`] },
      ]).flat();
      const asking = script(...steps);
      let answer = await call(stage, asking);
      while (answer.error === undefined) answer = await call(stage, { ...asking, ...back(answer) });
    },
    [...Array.from({ length: MAX_ROUNDS }, () => 'answered'), 'bridge_error'],
  ],
];

const counts = (outcomes: readonly string[]) =>
  Object.fromEntries(CALL_OUTCOMES.map((word) => [word, outcomes.filter((it) => it === word).length]));

describe('counted once:', () => {
  for (const [what, options, act, expected] of ROWS) {
    test(what, async () => {
      const outcomes: string[] = [];
      const observer = {
        ...NO_OBSERVER,
        called: (_: string, outcome: string) => void outcomes.push(outcome),
      };
      const clock = { now: 1_000_000 };
      let isAsked: boolean = false;
      let breakDown: () => void = () => undefined;
      const slowUpstream = () => {
        isAsked = true;
        return new Promise<never>((_, reject) => {
          breakDown = () => reject(new Error('the disk is on fire'));
        });
      };
      await using bridge = await startBridge({
        ...options,
        ...(options.stuck && { slowUpstream }),
        observer,
        now: () => clock.now,
      });
      const upstream = { isAsked: () => isAsked, breakDown: () => breakDown() };
      const pass = (ms: number) => {
        clock.now += ms;
        bridge.sessions.tick();
        bridge.modern.tick();
      };
      await act({ bridge, client: modernClient(bridge.url), upstream, outcomes, pass });
      await until('its count', () => outcomes.length >= expected.length, 5000).catch(() => undefined);
      await bridge[Symbol.asyncDispose]();
      assert.deepEqual(counts(outcomes), counts(expected));
    });
  }
});

test('a client that has left stays gone, and what is begun for it too late is undone at once', () => {
  const outcomes: string[] = [];
  const sessions = { called: (_: string, outcome: string) => void outcomes.push(outcome) };
  const exchange = new ClientExchange(silent(), sessions, 'main');
  exchange.go();
  assert.ok(exchange.isGone);
  let isUndone: boolean = false;
  exchange.leaveWithClient(() => {
    isUndone = true;
  });
  assert.ok(isUndone);
  assert.deepEqual(outcomes, ['cancelled']);
});

test('who has had an answer does not leave, and what is begun for it after that is undone at once', () => {
  const exchange = new ClientExchange(silent(), { called: () => undefined }, 'main');
  const undone: string[] = [];
  exchange.leaveWithClient(() => void undone.push('before'));
  void exchange.end(undefined, undefined, 'answered');
  exchange.go();
  exchange.leaveWithClient(() => void undone.push('after'));
  assert.deepEqual([undone, exchange.isGone], [['after'], false]);
});

/** What is asked, and how often, by clients that leave before it has come to a child. */
const LEFT: readonly (readonly [when: string, Options, method: string, params: object, times: number])[] = [
  [
    'nobody knows the era of its server',
    { servers: [fixture('server', 'auto', 'rich')] },
    'tools/call',
    { name: 'never' },
    1,
  ],
  ['the list of tools is asked for', LEGACY, 'tools/call', { name: 'never' }, 1],
  ['a modern server is asked for its list of tools', MODERN, 'tools/call', { name: 'never' }, 1],
  // As many as a user may have.
  ['the greeting of the server is awaited', LEGACY, 'subscriptions/listen', { notifications: {} }, 100],
];

for (const [when, options, method, params, times] of LEFT) {
  test(`of a client that leaves while ${when}, nothing goes on`, async () => {
    let open: (() => void) | undefined;
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    let isAsked: boolean = false;
    const slowUpstream = async () => {
      isAsked = true;
      await opened;
      return access();
    };
    await using bridge = await startBridge({ ...options, slowUpstream });
    const asked = {
      caller: ANN,
      server: 'main',
      request: modernRequest(method, params),
      header: () => undefined,
    };
    for (let n = 0; n < times; n += 1) bridge.modern.request(asked, silent())();
    await until('it', () => isAsked);
    open?.();
    // Of the same words, so that it is served by the same child.
    const client = modernClient(bridge.url, 'ann.1', CLIENT_INFO);
    assert.equal((await client.call('tools/list')).error, undefined);
    await until('their end', () => bridge.sessions.counts.calls === 0);
    const events = eventsOf(await client.post('subscriptions/listen', { notifications: {} }));
    assert.equal((await nextEvent(events)).method, 'notifications/subscriptions/acknowledged');
  });
}
