/** What strangers can fill, and whom they can lock out: registrations, and the minute of a client at the token endpoint. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask } from '../support/ask.js';
import { NOWHERE } from '../support/oauth-client.js';
import { setStage } from '../support/stage.js';

test('a registration has 16 KiB at most', async () => {
  await using it = await setStage();
  const register = (bytes: number) => {
    const [head, tail] = [`{"redirect_uris":["${NOWHERE}"],"x":"`, '"}'];
    const body = head + 'x'.repeat(bytes - head.length - tail.length) + tail;
    return ask(`${it.broker.url}/oauth/register`, 'POST', { 'Content-Length': bytes }, body);
  };
  assert.equal((await register(16 * 1024)).status, 201);
  const { status, body } = await register(16 * 1024 + 1);
  assert.deepEqual([status, (JSON.parse(body) as { error: string }).error], [400, 'invalid_request']);
});
