/** What the broker does by the clock: it pings open streams, and drops what nobody waits for any more. */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { DAY, MINUTE } from '../../src/base/clock.js';
import { TIMING } from '../../src/http/mcp.js';
import { ClientAssertions } from '../../src/oauth/client-assertions.js';
import { PendingAuthorizations } from '../../src/oauth/pending.js';
import { startTestBroker } from '../support/broker.js';
import { withIntervals } from '../support/intervals.js';
import { discover, register } from '../support/oauth-client.js';

test('an open stream is pinged every 15 seconds', () => {
  assert.equal(TIMING.pingMs, 15_000);
});

// Nothing but memory tells whether these are swept.
for (const swept of [PendingAuthorizations, ClientAssertions]) {
  test(`${swept.name} are swept every minute`, async () => {
    const sweep = mock.method(swept.prototype, 'sweep');
    const [broker, intervals] = await withIntervals(() => startTestBroker());
    await using _broker = broker;
    await intervals.run(MINUTE);
    mock.restoreAll();
    assert.equal(sweep.mock.callCount(), 1);
  });
}

test('the store is swept every hour: a client that nobody ever used is forgotten after a day', async () => {
  let time = Date.now();
  const [broker, intervals] = await withIntervals(() => startTestBroker({ now: () => time }));
  await using _broker = broker;
  const { clientId } = await register(await discover(broker.mcpUrl));
  const statusOf = async () => {
    const form = { client_id: clientId, grant_type: 'refresh_token', refresh_token: 'x' };
    const body = new URLSearchParams(form);
    return (await fetch(`${broker.url}/oauth/token`, { method: 'POST', body })).status;
  };
  await intervals.run(60 * MINUTE);
  assert.equal(await statusOf(), 400);
  time += DAY + MINUTE;
  await intervals.run(60 * MINUTE);
  assert.equal(await statusOf(), 401);
});
