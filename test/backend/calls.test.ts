/** How long a call may wait, how far progress helps, and which call is the newest. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Calls, MAX_EXTENSION } from '../../src/backend/calls.js';
import { type NotificationMessage, type RequestMessage, readMessage } from '../../src/mcp/message.js';

const REQUEST_MS = 1000;

const message = (value: object) => readMessage(Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...value })));
const request = message({ id: 1, method: 'm', params: { _meta: { progressToken: 't' } } }) as RequestMessage;

/** The books with one call, made at 0, and its child's word that it goes on. */
function oneCall() {
  const calls = new Calls(() => undefined);
  const exchange = { streams: true, send: () => undefined, end: () => undefined };
  const { key } = calls.add(request, exchange, 1, 0, REQUEST_MS);
  const params = { progressToken: key, progress: 1 };
  const progress = message({ method: 'notifications/progress', params }) as NotificationMessage;
  return { calls, key, hear: (now: number) => calls.progress(progress, 1, now + REQUEST_MS) };
}

test('a call without progress is overdue after its time', () => {
  const { calls, key } = oneCall();
  assert.deepEqual(calls.overdue(REQUEST_MS - 1, 1000), []);
  assert.deepEqual(calls.overdue(REQUEST_MS, 1000), [{ key, atLast: false }]);
});

test('progress extends the time of a call, but not for ever', () => {
  const { calls, key, hear } = oneCall();
  const last = MAX_EXTENSION * REQUEST_MS;
  for (let now = 0; now < last; now += REQUEST_MS / 2) {
    assert.deepEqual(calls.overdue(now, 1000), []);
    assert.ok(hear(now));
  }
  assert.deepEqual(calls.overdue(last - 1, 1000), []);
  assert.deepEqual(calls.overdue(last, 1000), [{ key, atLast: true }]);
});

test('the newest call that streams is found without looking at all the others each time', () => {
  const calls = new Calls(() => undefined);
  let looks = 0;
  const exchangeOf = (streams: boolean) => ({
    get streams() {
      looks += 1;
      return streams;
    },
    send: () => undefined,
    end: () => undefined,
  });
  const add = (streams: boolean) => {
    const exchange = exchangeOf(streams);
    return { exchange, key: calls.add(request, exchange, 1, 0, REQUEST_MS).key };
  };
  const [first, second] = [add(true), add(true)];
  for (let i = 0; i < 100; i += 1) add(false);
  looks = 0;
  for (let i = 0; i < 100; i += 1) assert.equal(calls.newestStreaming(), second.exchange);
  assert.equal(looks, 0);
  calls.drop(second.key, 'cancelled');
  for (let i = 0; i < 100; i += 1) assert.equal(calls.newestStreaming(), first.exchange);
  calls.drop(first.key, 'cancelled');
  for (let i = 0; i < 100; i += 1) assert.equal(calls.newestStreaming(), undefined);
  assert.ok(looks < 300, `${looks}`);
});

for (const id of ['0', '"a"', '1234567890']) {
  test(`a long answer to a call with the id ${id} reaches its client in the bytes that its child wrote`, () => {
    const calls = new Calls(() => undefined);
    const heard: Buffer[] = [];
    const exchange = {
      streams: true,
      send: () => undefined,
      end: (it?: Buffer) => void heard.push(it ?? line),
    };
    const asked = readMessage(Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":"m"}`)) as RequestMessage;
    const { key } = calls.add(asked, exchange, 1, 0, REQUEST_MS);
    const result = `{"n":12345678901234567890,"text":"${'x'.repeat(1024 * 1024)}"}`;
    const line = Buffer.from(`{"jsonrpc":"2.0","id":${key},"result":${result}}`);
    const read = readMessage(line);
    assert.ok(read.kind === 'response');
    void calls.settle(read, 1);
    assert.equal(String(heard[0]), `{"jsonrpc":"2.0","id":${id},"result":${result}}`);
    assert.equal(heard[0]?.buffer, line.buffer);
  });
}

test('the time of a call stands still while it waits for its client, and is whole when the client is back', () => {
  const calls = new Calls(() => undefined);
  const exchange = { streams: true, waitsForClient: true, send: () => undefined, end: () => undefined };
  const { key } = calls.add(request, exchange, 1, 0, REQUEST_MS);
  for (let now = 0; now <= 20 * REQUEST_MS; now += REQUEST_MS / 2)
    assert.deepEqual(calls.overdue(now, REQUEST_MS), []);
  exchange.waitsForClient = false;
  assert.deepEqual(calls.overdue(21 * REQUEST_MS - 1, REQUEST_MS), []);
  assert.deepEqual(calls.overdue(21 * REQUEST_MS, REQUEST_MS), [{ key, atLast: false }]);
});

test('calls that wait for their clients are known, by child', () => {
  const calls = new Calls(() => undefined);
  const exchange = { streams: true, waitsForClient: true, send: () => undefined, end: () => undefined };
  const one = calls.add(request, exchange, 1, 0, REQUEST_MS).key;
  const other = calls.add(
    request,
    { ...exchange, standsFor: exchange, waitsForClient: false },
    2,
    0,
    REQUEST_MS,
  ).key;
  calls.add(request, { ...exchange, waitsForClient: false }, 2, 0, REQUEST_MS);
  assert.deepEqual(calls.waiting(), [one, other]);
  assert.deepEqual(calls.waiting(2), [other]);
});
