/** Bodies in reading, by user. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { UserId } from '../../src/base/ids.js';
import { Bodies, type BodyFault } from '../../src/http/mcp-body.js';
import { MESSAGES_PER_USER } from '../../src/http/mcp-ledger.js';
import { until } from '../fixtures/until.js';

const MAX = 10;

test('who goes before the body is asked for takes no place', async (t) => {
  const bodies = new Bodies(MAX);
  const read: (Buffer | BodyFault)[] = [];
  const server = createServer((request, response) => {
    const take = () => bodies.read(request, 'ann' as UserId, (body) => void read.push(body));
    // As when the store takes its time to say who this is.
    if (request.url === '/late') request.once('close', take);
    else take();
    response.flushHeaders();
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const post = (path: string, body: string) => {
    const socket = connect(address.port, '127.0.0.1');
    t.after(() => socket.destroy());
    socket.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${MAX}\r\n\r\n${body}`);
    return socket;
  };
  for (let n = 1; n <= MESSAGES_PER_USER + 1; n += 1) {
    const socket = post('/late', 'half');
    await once(socket, 'data');
    socket.destroy();
    await until('its end', () => read.length === n);
  }
  post('/now', '0123456789');
  await until('the body', () => read.length === MESSAGES_PER_USER + 2);
  assert.deepEqual(read.slice(0, -1), Array(MESSAGES_PER_USER + 1).fill('cut off'));
  assert.equal(String(read.at(-1)), '0123456789');
});
