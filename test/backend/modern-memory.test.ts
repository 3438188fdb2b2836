/** What is left in memory of a modern request once it is answered: not its body, whatever outlives it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { askedClient } from '../fixtures/asked-client.js';
import { askingEntry, startBridge } from '../fixtures/bridge.js';
import { modernClient } from '../fixtures/modern-client.js';
import { until } from '../fixtures/until.js';

const LARGE = 8 * 1024 * 1024;
const PADDING = { 'x/padding': 'x'.repeat(LARGE) };

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function buffered(): number {
  collect();
  return process.memoryUsage().arrayBuffers;
}

/** Bodies that were sent and received go when the sockets have let go of them. */
async function isFreed(before: number): Promise<void> {
  await until('the bodies to be freed', () => buffered() < before + LARGE / 2);
}

test('of the first request of a client nothing is kept but what it says of itself', async () => {
  await using bridge = await startBridge();
  const client = modernClient(bridge.url);
  await client.call('tools/list', {}, { name: 'warm-up' });
  const before = buffered();
  for (let i = 0; i < 4; i += 1) {
    const { result } = await client.call('tools/list', {}, { name: `client ${i}`, meta: PADDING });
    assert.equal(result.resultType, 'complete');
  }
  assert.equal(bridge.sessions.counts.sessions, 5);
  await isFreed(before);
});

test('a subscription is short, whatever stands beside what it asks for', async () => {
  await using bridge = await startBridge();
  const { error } = await modernClient(bridge.url).call(
    'subscriptions/listen',
    { notifications: { toolsListChanged: true } },
    { meta: { 'x/padding': 'x'.repeat(256 * 1024) } },
  );
  assert.equal(error?.code, -32602);
});

test('a call that waits for its client a second time keeps the request it came back with, and no other', async () => {
  await using bridge = await startBridge({ servers: [askingEntry()] });
  const client = askedClient(bridge.url);
  const params = {
    name: 'script',
    arguments: { steps: [{ ask: 'a', method: 'roots/list' }, { wait: ['a'] }] },
  };
  const before = buffered();
  const first = await client.result('tools/call', { ...params, _meta: PADDING });
  assert.equal(first.resultType, 'input_required');
  const { requestState } = first;
  const second = await client.result('tools/call', { ...params, inputResponses: {}, requestState });
  assert.equal(second.resultType, 'input_required');
  assert.equal(bridge.sessions.counts.calls, 1);
  await isFreed(before);
});
