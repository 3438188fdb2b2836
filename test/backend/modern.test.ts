/** What modern clients get from no child: an answer in any case, which is counted, and nothing of which is kept. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { queryObjects } from 'node:v8';
import { ModernClient } from '../../src/backend/modern-client.js';
import { type CallOutcome, NO_OBSERVER } from '../../src/backend/observer.js';
import {
  access,
  askingEntry,
  type BridgeOptions,
  FIXTURES,
  fixtureEntry,
  startBridge,
} from '../fixtures/bridge.js';
import { jsonOf } from '../fixtures/client.js';
import { type Asking, modernClient } from '../fixtures/modern-client.js';
import { memorySessionStore } from '../fixtures/session-store.js';
import { until } from '../fixtures/until.js';

const auto = [{ ...fixtureEntry('main', { FIXTURE: 'rich' }), protocol: 'auto' as const }];
const TOOLS = JSON.stringify([
  [
    {
      name: 'echo',
      inputSchema: { type: 'object', properties: { region: { type: 'string', 'x-mcp-header': 'Region' } } },
    },
  ],
]);

/** Breaks as long as it is told to. */
function breaking() {
  const state: { isBroken: boolean } = { isBroken: true };
  const check = () => {
    if (state.isBroken) throw new Error('the disk is on fire');
  };
  return { state, check };
}

const BREAKS: Readonly<Record<string, (check: () => void) => BridgeOptions>> = {
  'the store': (check) => {
    const store = memorySessionStore();
    return {
      servers: auto,
      store: {
        ...store,
        findEra: async (server) => {
          check();
          return store.findEra(server);
        },
      },
    };
  },
  'the upstream, later': (check) => ({
    servers: auto,
    slowUpstream: async () => {
      check();
      return access();
    },
  }),
  'the upstream, at once': (check) => ({
    servers: auto,
    slowUpstream: () => {
      check();
      return Promise.resolve(access());
    },
  }),
};

for (const [what, optionsOf] of Object.entries(BREAKS)) {
  for (const method of ['tools/list', 'subscriptions/listen']) {
    test(`${method} is answered when ${what} breaks, and once it works again`, async () => {
      const { state, check } = breaking();
      await using bridge = await startBridge(optionsOf(check));
      const client = modernClient(bridge.url);
      const response = await client.post(method, { notifications: {} }, { id: 'mine' });
      const { id, error } = await jsonOf(response);
      assert.deepEqual([id, error.code, error.data], ['mine', -32603, { reason: 'internal' }]);
      const [failed, ...more] = bridge.events.filter(({ event }) => event === 'request.failed');
      assert.match(String(failed?.fields.error), /the disk is on fire/);
      assert.ok(error.message.includes(String(failed?.fields.incident)));
      assert.equal(more.length, 0);
      state.isBroken = false;
      assert.equal((await client.call('tools/list')).error, undefined);
    });
  }
}

const unreachable = () => ({ fault: 'unreachable' as const, message: 'It is down' });
const modern = [
  {
    name: 'main',
    command: process.execPath,
    args: [join(FIXTURES, 'modern-server.js')],
    env: { FIXTURE: 'headers' },
    protocol: 'modern' as const,
  },
];
const CALL = { name: 'echo', arguments: { region: 'eu' } };
const WRONG: Asking = { headers: { 'Mcp-Param-Region': 'us' } };
/** What is refused, and whose doing it is. */
const REFUSED: readonly [
  what: string,
  outcome: CallOutcome,
  options: BridgeOptions,
  method: string,
  params: Readonly<Record<string, unknown>>,
  asking?: Asking,
][] = [
  [
    'a server whose era is not to be had',
    'bridge_error',
    { servers: auto, upstream: unreachable },
    'tools/list',
    {},
  ],
  ['an extension', 'refused', {}, 'tasks/get', { taskId: 't' }],
  ['a header of a legacy server', 'refused', { env: { TOOLS } }, 'tools/call', CALL, WRONG],
  [
    'a header of a modern server',
    'refused',
    { servers: modern },
    'tools/call',
    { ...CALL, name: 'meta' },
    WRONG,
  ],
  ['a state that is not ours', 'refused', {}, 'prompts/get', { name: 'p', requestState: 'bad' }],
  ['a filter that is none', 'refused', {}, 'subscriptions/listen', { notifications: 1 }],
  ['a greeting that fails', 'bridge_error', { traits: 'refuses' }, 'server/discover', {}],
];

for (const [what, outcome, options, method, params, asking] of REFUSED) {
  test(`a refusal is counted, once, as what it is: ${what}`, async () => {
    const outcomes: string[] = [];
    const observer = { ...NO_OBSERVER, called: (_: string, outcome: string) => void outcomes.push(outcome) };
    await using bridge = await startBridge({ ...options, observer });
    const { error } = await modernClient(bridge.url).call(method, params, asking);
    assert.notEqual(error, undefined);
    assert.deepEqual(outcomes, [outcome]);
  });
}

test('a retry that is refused leaves nothing behind of its client', async () => {
  await using bridge = await startBridge({ traits: 'rich' });
  const client = modernClient(bridge.url);
  const before = queryObjects(ModernClient, { format: 'count' });
  const rows = [
    ['prompts/get', { name: 'p', requestState: 'bad' }],
    ['resources/read', { uri: 'a://b', requestState: 'bad' }],
    ['tools/call', { name: 'whoami', requestState: 'bad' }],
  ] as const;
  for (const [method, params] of rows)
    for (let n = 0; n < 10; n += 1)
      assert.equal((await client.call(method, params, { name: `${method} ${n}` })).error?.code, -32602);
  assert.equal(queryObjects(ModernClient, { format: 'count' }), before);
  assert.deepEqual(bridge.sessions.counts, { sessions: 0, children: 0, calls: 0 });
});

test('what modern clients keep open is known while they do', async () => {
  await using bridge = await startBridge({ servers: [askingEntry()] });
  const client = modernClient(bridge.url, 'ann.1', { capabilities: { elicitation: { form: {} } } });
  const steps = [
    { ask: 'a', method: 'elicitation/create', params: { message: 'a', requestedSchema: {} } },
    { wait: ['a'] },
  ];
  const script = { name: 'script', arguments: { steps } };
  const gone = new AbortController();
  const listening = await client.post('subscriptions/listen', { notifications: {} }, { signal: gone.signal });
  const { result } = await client.call('tools/call', script);
  assert.deepEqual(bridge.modern.census, { parkedCalls: 1, subscriptions: 1 });
  const [key = ''] = Object.keys(result.inputRequests);
  await client.call('tools/call', {
    ...script,
    requestState: result.requestState,
    inputResponses: { [key]: { action: 'accept', content: {} } },
  });
  gone.abort();
  await listening.text().catch(() => undefined);
  await until('its end', () => bridge.modern.census.subscriptions === 0);
  assert.equal(bridge.modern.census.parkedCalls, 0);
});
