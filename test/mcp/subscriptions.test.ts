/** A subscription says what was asked for and what the server has, each message with the id of the subscription. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  accepts,
  acknowledged,
  closed,
  type Filter,
  granted,
  readFilter,
  tagged,
} from '../../src/mcp/subscriptions.js';
import { messageOf, modernRequest } from '../fixtures/modern.js';

const NOTHING: Filter = {
  toolsListChanged: false,
  promptsListChanged: false,
  resourcesListChanged: false,
  resourceSubscriptions: [],
};
const listen = (notifications: unknown) =>
  readFilter(modernRequest('subscriptions/listen', { notifications }));

const FILTERS: readonly (readonly [what: string, notifications: unknown, filter: Filter | 'fault'])[] = [
  ['nothing', {}, NOTHING],
  ['tools', { toolsListChanged: true, promptsListChanged: false }, { ...NOTHING, toolsListChanged: true }],
  [
    'resources',
    { resourcesListChanged: true, resourceSubscriptions: ['a:/', 'b:/', 'a:/'] },
    { ...NOTHING, resourcesListChanged: true, resourceSubscriptions: ['a:/', 'b:/'] },
  ],
  ['what nobody knows', { weatherChanged: 1 }, NOTHING],
  ['no filter', undefined, 'fault'],
  ['a filter that is no object', [true], 'fault'],
  ['a flag that is no boolean', { toolsListChanged: 'true' }, 'fault'],
  ['resources that are no list', { resourceSubscriptions: 'a:/' }, 'fault'],
  ['a resource that is no string', { resourceSubscriptions: ['a:/', 1] }, 'fault'],
  ['a resource of any length', { resourceSubscriptions: ['x'.repeat(3000)] }, 'fault'],
  [
    'resources without end',
    { resourceSubscriptions: Array.from({ length: 1001 }, (_, i) => `${i}`) },
    'fault',
  ],
];

for (const [what, notifications, filter] of FILTERS) {
  test(`a client that wants ${what}`, () => {
    const read = listen(notifications);
    if ('fault' in read) assert.equal(read.fault.code, -32602);
    assert.deepEqual('fault' in read ? 'fault' : read, filter);
  });
}

const ALL: Filter = {
  toolsListChanged: true,
  promptsListChanged: true,
  resourcesListChanged: true,
  resourceSubscriptions: ['a:/'],
};

test('granted is what the server declares', () => {
  assert.deepEqual(granted(ALL, '{}'), NOTHING);
  assert.deepEqual(
    granted(ALL, '{"tools":{"listChanged":true},"prompts":{"listChanged":false},"resources":{}}'),
    {
      ...NOTHING,
      toolsListChanged: true,
    },
  );
  assert.deepEqual(granted(ALL, '{"resources":{"subscribe":true}}'), {
    ...NOTHING,
    resourceSubscriptions: ['a:/'],
  });
  assert.deepEqual(granted(ALL, '{"tools":{"listChanged":"no"}}'), NOTHING);
  assert.deepEqual(granted(NOTHING, '{"tools":{"listChanged":true}}'), NOTHING);
  assert.deepEqual(granted(ALL, '{"tools":{"__proto__":{"listChanged":true}}}'), NOTHING);
});

test('the acknowledgement says what is granted, and no more', () => {
  assert.equal(
    acknowledged('"ü\\n"', { ...NOTHING, toolsListChanged: true, resourceSubscriptions: ['ü:/'] }).toString(
      'latin1',
    ),
    '{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":' +
      '{"io.modelcontextprotocol/subscriptionId":"ü\\n"},"notifications":{"toolsListChanged":true,' +
      `"resourceSubscriptions":["${Buffer.from('ü').toString('latin1')}:/"]}}}`,
  );
  assert.deepEqual(JSON.parse(acknowledged('1', NOTHING).toString()).params.notifications, {});
});

function notification(method: string, params?: unknown) {
  const message = messageOf(JSON.stringify({ jsonrpc: '2.0', method, params }));
  assert.ok(message.kind === 'notification');
  return message;
}

test('a subscription carries what it was opened for', () => {
  const changed = (what: string) => notification(`notifications/${what}/list_changed`);
  for (const [flag, what] of [
    ['toolsListChanged', 'tools'],
    ['promptsListChanged', 'prompts'],
    ['resourcesListChanged', 'resources'],
  ] as const) {
    assert.ok(accepts({ ...NOTHING, [flag]: true }, changed(what)));
    assert.ok(!accepts({ ...ALL, [flag]: false }, changed(what)));
  }
  assert.ok(!accepts(ALL, notification('notifications/message', {})));
  assert.ok(!accepts(ALL, notification('notifications/progress', {})));
});

test('a resource is told of with the parts of it', () => {
  const updated = (uri: unknown) =>
    accepts(
      { ...NOTHING, resourceSubscriptions: ['file:///a', 'x:/'] },
      notification('notifications/resources/updated', { uri }),
    );
  assert.ok(updated('file:///a') && updated('file:///a/b') && updated('x:/') && updated('x:/y'));
  assert.ok(!updated('file:///ab') && !updated('file:///') && !updated(1) && !updated(undefined));
});

const TAG = '"io.modelcontextprotocol/subscriptionId":7';
const TAGS: readonly (readonly [what: string, params: string, tagged: string])[] = [
  ['none', '', `"params":{"_meta":{${TAG}}},`],
  ['empty ones', '"params":{},', `"params":{"_meta":{${TAG}}},`],
  ['some', '"params":{"uri":"x","n":1.0},', `"params":{"_meta":{${TAG}},"uri":"x","n":1.0},`],
  ['a _meta', '"params":{"_meta":{"a":1}},', `"params":{"_meta":{${TAG},"a":1}},`],
  ['a tag', `"params":{"_meta":{${TAG.replace('7', '"x"')}}},`, `"params":{"_meta":{${TAG}}},`],
  ['a _meta that is none', '"params":{"_meta":1},', `"params":{"_meta":{${TAG}}},`],
  ['what is no object', '"params":[],', `"params":{"_meta":{${TAG}}},`],
];

for (const [what, params, expected] of TAGS) {
  test(`a notification with ${what} for parameters leaves with the id of the subscription`, () => {
    const text = (own: string) => `{${own}"jsonrpc":"2.0","method":"m"}`;
    const message = messageOf(text(params));
    assert.ok(message.kind === 'notification');
    assert.equal(tagged(message, '7').toString(), text(expected));
  });
}

test('a subscription that we end is answered', () => {
  assert.deepEqual(JSON.parse(closed('"i"', { serverInfo: '{"name":"s"}' }).toString()), {
    jsonrpc: '2.0',
    id: 'i',
    result: {
      resultType: 'complete',
      _meta: {
        'io.modelcontextprotocol/subscriptionId': 'i',
        'io.modelcontextprotocol/serverInfo': { name: 's' },
      },
    },
  });
});
