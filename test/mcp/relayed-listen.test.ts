/** What a client of a subscription hears when the children behind it come and go. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RequestMessage, ResponseMessage } from '../../src/mcp/message.js';
import {
  askedAs,
  endedTo,
  eventOf,
  type Listen,
  type ListenEvent,
  step,
  subscriptionOf,
  toldTo,
  UNHEARD,
} from '../../src/mcp/relayed-listen.js';
import { messageOf } from '../fixtures/modern.js';

type Row = readonly [what: string, before: Listen, event: ListenEvent, after: Listen, effects?: object];

const FIRST: Listen = { ...UNHEARD, opening: 'a' };
const HEARD: Listen = { isAcknowledged: true, heard: 'a', opening: undefined };
const MOVING: Listen = { isAcknowledged: true, heard: 'a', opening: 'b' };
const ALONE: Listen = { isAcknowledged: true, heard: undefined, opening: undefined };
const AGAIN: Listen = { ...ALONE, opening: 'b' };
const on = (is: ListenEvent['is'], as: string): ListenEvent => ({ is, as });

const ROWS: readonly Row[] = [
  ['the first child is asked', UNHEARD, on('asked', 'a'), FIRST],
  [
    'a child that takes over before the first acknowledges is asked instead',
    FIRST,
    on('asked', 'b'),
    { ...FIRST, opening: 'b' },
    { cancel: 'a' },
  ],
  ['the first acknowledgement is passed on', FIRST, on('acknowledged', 'a'), HEARD, { passes: true }],
  ['nothing is heard before the acknowledgement', FIRST, on('told', 'a'), FIRST],
  ['a refusal is passed on', FIRST, on('ended', 'a'), UNHEARD, { passes: true, isOver: true }],
  [
    'a child that is gone before it acknowledges is an end',
    FIRST,
    on('lost', 'a'),
    UNHEARD,
    { isOver: true },
  ],
  ['changes are passed on', HEARD, on('told', 'a'), HEARD, { passes: true }],
  ['a second acknowledgement is not', HEARD, on('acknowledged', 'a'), HEARD],
  ['the end is passed on', HEARD, on('ended', 'a'), ALONE, { passes: true, isOver: true }],
  ['a child that is gone is no end', HEARD, on('lost', 'a'), ALONE],
  ['the next child is asked', ALONE, on('asked', 'b'), AGAIN],
  ['its acknowledgement is no news', AGAIN, on('acknowledged', 'b'), { ...HEARD, heard: 'b' }],
  ['its refusal is', AGAIN, on('ended', 'b'), ALONE, { passes: true, isOver: true }],
  ['it may be gone as well', AGAIN, on('lost', 'b'), ALONE],
  ['while one child takes over, the other is heard', MOVING, on('told', 'a'), MOVING, { passes: true }],
  ['and what the next one says is not', MOVING, on('told', 'b'), MOVING],
  [
    'until it acknowledges, and the other is dismissed',
    MOVING,
    on('acknowledged', 'b'),
    { ...HEARD, heard: 'b' },
    { cancel: 'a' },
  ],
  ['or refuses', MOVING, on('ended', 'b'), ALONE, { passes: true, isOver: true, cancel: 'a' }],
  ['or is gone', MOVING, on('lost', 'b'), HEARD],
  ['the other may end the subscription on its way out', MOVING, on('ended', 'a'), AGAIN],
  ['or be gone before', MOVING, on('lost', 'a'), AGAIN],
  [
    'a third child takes the place of the second',
    MOVING,
    on('asked', 'c'),
    { ...MOVING, opening: 'c' },
    { cancel: 'b' },
  ],
];

for (const [what, before, event, after, effects] of ROWS) {
  test(what, () => {
    assert.deepEqual(step(before, event), { listen: after, passes: false, ...effects });
  });
}

const request = messageOf(
  '{"id":7, "jsonrpc":"2.0","method":"subscriptions/listen","params":{"_meta":{"progressToken":7,"x":1.0},"notifications":{"tasks":["7"]}}}',
) as RequestMessage;

test('a child is asked in the words of the client, under an id of ours', () => {
  assert.equal(
    askedAs(request, '"l"').toString(),
    '{"id":"l", "jsonrpc":"2.0","method":"subscriptions/listen","params":{"_meta":{"progressToken":"l","x":1.0},"notifications":{"tasks":["7"]}}}\n',
  );
});

const ID = 'io.modelcontextprotocol/subscriptionId';
const NOTIFICATIONS: readonly (readonly [
  is: ListenEvent['is'],
  method: string,
  params: (id: string) => string,
])[] = [
  [
    'acknowledged',
    'notifications/subscriptions/acknowledged',
    (id) => `{"_meta":{"${ID}":${id}},"notifications":{}}`,
  ],
  ['told', 'notifications/resources/updated', (id) => `{"uri":"a:1","_meta":{"a":1,"${ID}": ${id} }}`],
  ['told', 'notifications/of/an/extension', (id) => `{"_meta":{"${ID}":${id}},"n":1.0}`],
  ['ended', 'notifications/cancelled', (id) => `{"requestId":${id},"_meta":{"${ID}":${id}}}`],
];
for (const [is, method, params] of NOTIFICATIONS) {
  test(`${method} is known by its subscription, and told under the id of the client`, () => {
    const textOf = (id: string) => `{"jsonrpc":"2.0","method":"${method}","params":${params(id)}}`;
    const message = messageOf(textOf('"l"'));
    assert.ok(message.kind === 'notification');
    assert.equal(subscriptionOf(message), '"l"');
    assert.deepEqual(eventOf(message, '"l"'), { is, as: '"l"' });
    assert.equal(toldTo(message, '12345678901234567890').toString(), textOf('12345678901234567890'));
  });
}

test('a notification of no subscription is of none', () => {
  const message = messageOf('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}');
  assert.ok(message.kind === 'notification');
  assert.equal(subscriptionOf(message), undefined);
});

test('the end carries the id of the client in both places', () => {
  const textOf = (id: string) =>
    `{"jsonrpc":"2.0","id":${id},"result":{"resultType":"complete","_meta":{"${ID}":${id}}}}`;
  assert.equal(endedTo(messageOf(textOf('"l"')) as ResponseMessage, '"c"').toString(), textOf('"c"'));
});
