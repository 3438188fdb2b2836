/** What the broker does by the clock: it pings open streams, and drops pending sign-ins once a minute. */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { TIMING } from '../../src/http/mcp.js';
import { PendingAuthorizations } from '../../src/oauth/pending.js';
import { startTestBroker } from '../support/broker.js';

test('an open stream is pinged every 15 seconds', () => {
  assert.equal(TIMING.pingMs, 15_000);
});

test('pending authorizations are swept every minute', async () => {
  const sweep = mock.method(PendingAuthorizations.prototype, 'sweep');
  const timers = mock.method(globalThis, 'setInterval');
  await using _broker = await startTestBroker();
  const everyMinute = timers.mock.calls.filter((call) => call.arguments[1] === 60_000);
  for (const call of everyMinute) call.arguments[0]();
  await new Promise((resolve) => setImmediate(resolve));
  mock.restoreAll();
  assert.equal(sweep.mock.callCount(), 1);
});
