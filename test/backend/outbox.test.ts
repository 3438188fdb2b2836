/** Where a message leaves when it answers no call. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exchange } from '../../src/backend/calls.js';
import { type Matter, Outbox, type Stream } from '../../src/backend/outbox.js';

function outlet(): Exchange & Stream & { readonly sent: string[] } {
  const sent: string[] = [];
  return {
    sent,
    streams: true,
    send: (message) => void sent.push(message.toString()),
    end: () => void sent.push('end'),
  };
}

const MATTERS: readonly Matter[] = ['request', 'log', 'change', 'progress'];
const post = (outbox: Outbox, text: string, newest?: Exchange) => {
  for (const matter of MATTERS) void outbox.post(1, matter, Buffer.from(`${matter}${text}`), newest);
};

test('each matter has its way, and its second and third', () => {
  const outbox = new Outbox();
  const [stream, exchange] = [outlet(), outlet()];
  post(outbox, ' waits');
  outbox.offer(exchange);
  assert.deepEqual(exchange.sent, ['request waits']);
  post(outbox, ' 1', exchange);
  assert.deepEqual(exchange.sent.slice(1), ['request 1', 'log 1', 'change 1']);
  outbox.listen(stream);
  post(outbox, ' 2', exchange);
  assert.deepEqual(exchange.sent.slice(4), ['request 2', 'log 2']);
  post(outbox, ' 3');
  assert.deepEqual(stream.sent, [
    'change waits',
    'change 2',
    'progress 2',
    'request 3',
    'log 3',
    'change 3',
    'progress 3',
  ]);
});

test('what waits is bounded in number and in bytes, and the oldest goes first', () => {
  const flush = (outbox: Outbox) => {
    const stream = outlet();
    outbox.listen(stream);
    return stream.sent;
  };
  const many = new Outbox();
  for (let i = 0; i < 150; i += 1) void many.post(1, 'change', Buffer.from(`${i}`), undefined);
  assert.deepEqual(
    flush(many),
    Array.from({ length: 100 }, (_, i) => `${i + 50}`),
  );
  const large = new Outbox();
  for (const letter of 'abc') void large.post(1, 'change', Buffer.alloc(500_000, letter), undefined);
  assert.deepEqual(
    flush(large).map((text) => text[0]),
    ['b', 'c'],
  );
});

test('a stream that was replaced does not hang up its successor', () => {
  const outbox = new Outbox();
  const [older, newer] = [outlet(), outlet()];
  outbox.listen(older);
  outbox.listen(newer);
  outbox.hangUp(older);
  void outbox.post(1, 'log', Buffer.from('x'), undefined);
  assert.deepEqual([older.sent, newer.sent], [['end'], ['x']]);
});

test('a stream that comes back is not ended, and gets what waited', () => {
  const outbox = new Outbox();
  const stream = outlet();
  outbox.listen(stream);
  outbox.listen(stream);
  outbox.hangUp(stream);
  void outbox.post(1, 'change', Buffer.from('x'), undefined);
  outbox.listen(stream);
  assert.deepEqual(stream.sent, ['x']);
});

test('the questions of a child that is gone are not asked', () => {
  const outbox = new Outbox();
  post(outbox, ' old');
  outbox.forgetRequests(2);
  outbox.forgetRequests(1);
  const stream = outlet();
  outbox.listen(stream);
  assert.deepEqual(stream.sent, ['change old']);
});
