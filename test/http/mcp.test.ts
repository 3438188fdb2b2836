/** The MCP endpoint over real sockets with real children: one call there and back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBridge } from '../fixtures/bridge.js';
import { connect } from '../fixtures/client.js';

test('a call reaches the child and its answer comes back as JSON under the id of the client', async () => {
  await using bridge = await startBridge();
  const client = await connect(bridge.url);
  const answer = await client.call('echo', { hello: 'world' }, 'my-id');
  assert.equal(answer.id, 'my-id');
  assert.deepEqual(answer.result, { hello: 'world' });
});
