/** What must hold when things go wrong around a signed-in user: lost keys, replays, stops, a store that fails. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { sql } from 'drizzle-orm';
import { Hono } from 'hono';
import { MINUTE } from '../../src/base/clock.js';
import { guardedFetch } from '../../src/base/fetch.js';
import type { NodeEnv } from '../../src/http/app.js';
import { listenerOf, listenHttp } from '../../src/http/server.js';
import { openSqlite } from '../../src/store/sqlite.js';
import { startTestBroker, type TestBroker } from '../support/broker.js';
import { startStage } from '../support/connection.js';
import { authorize, discover, refresh, register } from '../support/oauth-client.js';

const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
};

function post(broker: TestBroker, token: string, message: object, session?: string): Promise<Response> {
  return fetch(broker.mcpUrl, {
    method: 'POST',
    headers: {
      Authorization: `Bearer ${token}`,
      'Content-Type': 'application/json',
      Accept: 'application/json, text/event-stream',
      ...(session === undefined ? {} : { 'Mcp-Session-Id': session }),
    },
    body: JSON.stringify(message),
  });
}

async function openSession(broker: TestBroker, token: string): Promise<string> {
  const response = await post(broker, token, INITIALIZE);
  await response.text();
  const session = response.headers.get('mcp-session-id');
  assert.ok(session);
  return session;
}

/** The standing stream of a session; its text is complete when the broker ends it. */
async function openStream(
  broker: TestBroker,
  token: string,
  session: string,
): Promise<{ ended: Promise<string> }> {
  const response = await fetch(broker.mcpUrl, {
    headers: { Authorization: `Bearer ${token}`, 'Mcp-Session-Id': session, Accept: 'text/event-stream' },
  });
  assert.equal(response.status, 200);
  return { ended: response.text() };
}

for (const [what, path] of [
  ['authorization request', '/oauth/authorize?client_id=cl_unknown'],
  ['authorization request at the old address', '/authorize?client_id=cl_unknown'],
] as const) {
  test(`an ${what} at a store whose disk does not answer gets a page that says when to come back`, async () => {
    await using stage = await startStage();
    const { db, close } = openSqlite(stage.database);
    // What another program has just written must be read from the disk, and there it is not.
    db.run(sql`create table written (here)`);
    truncateSync(`${stage.database}-wal`);
    const response = await fetch(stage.broker.url + path);
    close();
    assert.equal(response.status, 503);
    assert.match(response.headers.get('retry-after') ?? '', /^\d+$/);
    assert.match(response.headers.get('content-type') ?? '', /^text\/html/);
    assert.match(await response.text(), /reload this page/);
  });
}

const anotherKey = { BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 2).toString('base64') };

test('a lost encryption key asks users to sign in again, and the old key brought back spares them', async () => {
  await using broker = await startTestBroker();
  const discovery = await discover(broker.mcpUrl);
  const client = await register(discovery);
  const tokens = await authorize(discovery, client, broker.person('alice'));
  await broker.restart(anotherKey);
  assert.ok(broker.log.some(({ event }) => event === 'credentials.sealed'));
  assert.equal((await post(broker, tokens.access_token, INITIALIZE)).status, 401);
  await assert.rejects(refresh(discovery, client, tokens.refresh_token ?? ''), /invalid_grant/);
  await broker.restart();
  assert.equal((await post(broker, tokens.access_token, INITIALIZE)).status, 200);
  await broker.restart(anotherKey);
  const again = await authorize(discovery, client, broker.person('alice'));
  assert.equal((await post(broker, again.access_token, INITIALIZE)).status, 200);
  assert.equal((await post(broker, tokens.access_token, INITIALIZE)).status, 200);
});

test('a credential that dies ends the open streams of its user, and no stream of another', async () => {
  let time = Date.now();
  await using broker = await startTestBroker({
    now: () => time,
    env: { BROKER_ACCESS_TOKEN_SECONDS: '7200' },
  });
  const discovery = await discover(broker.mcpUrl);
  const client = await register(discovery);
  const alice = await authorize(discovery, client, broker.person('alice'));
  const bob = await authorize(discovery, client, broker.person('bob'));
  const session = await openSession(broker, alice.access_token);
  const { ended } = await openStream(broker, alice.access_token, session);
  const others = await openSession(broker, bob.access_token);
  broker.forgejo.control.revokeGrant('alice');
  time += 61 * MINUTE;
  const answer = await post(
    broker,
    alice.access_token,
    { jsonrpc: '2.0', id: 2, method: 'tools/list' },
    session,
  );
  await answer.text();
  await ended;
  assert.equal((await post(broker, alice.access_token, INITIALIZE)).status, 401);
  const pong = await post(broker, bob.access_token, { jsonrpc: '2.0', id: 2, method: 'ping' }, others);
  assert.equal(pong.status, 200);
});

test('a replayed code ends the sessions it gave, also when the code had expired meanwhile', async () => {
  let time = Date.now();
  await using broker = await startTestBroker({ now: () => time });
  const discovery = await discover(broker.mcpUrl);
  const client = await register(discovery);
  const sent: URLSearchParams[] = [];
  const tokens = await authorize(discovery, client, broker.person('alice'), undefined, (form) =>
    sent.push(form),
  );
  const session = await openSession(broker, tokens.access_token);
  const { ended } = await openStream(broker, tokens.access_token, session);
  time += 10 * MINUTE;
  const replay = await fetch(`${broker.url}/oauth/token`, { method: 'POST', body: sent[0] ?? '' });
  assert.equal(replay.status, 400);
  await ended;
  assert.equal((await post(broker, tokens.access_token, INITIALIZE)).status, 401);
});

test('a refresh token that is given back ends the sessions of its grant at once', async () => {
  await using broker = await startTestBroker();
  const discovery = await discover(broker.mcpUrl);
  const client = await register(discovery);
  const tokens = await authorize(discovery, client, broker.person('alice'));
  const session = await openSession(broker, tokens.access_token);
  const { ended } = await openStream(broker, tokens.access_token, session);
  const form = { token: tokens.refresh_token ?? '', client_id: client.clientId };
  const revoked = await fetch(`${broker.url}/oauth/revoke`, {
    method: 'POST',
    body: new URLSearchParams(form),
  });
  assert.equal(revoked.status, 200);
  await ended;
  assert.equal((await post(broker, tokens.access_token, INITIALIZE)).status, 401);
});

test('a Forgejo that refuses the broker itself is told as such, without an offer to try again', async () => {
  await using broker = await startTestBroker();
  const discovery = await discover(broker.mcpUrl);
  const client = await register(discovery);
  broker.forgejo.control.change({ version: '14.0.1+gitea-1.22.0' });
  await assert.rejects(authorize(discovery, client, broker.person('alice')), /stuck|ended/);
  const failed = broker.log.find(({ event }) => event === 'upstream.failed');
  assert.equal(failed?.fields.kind, 'misconfigured');
  assert.match(String(failed?.fields.detail), /14\.0\.1.*too old/);
});

test('a stop of the broker answers the calls in flight with an error, and ends the streams', async () => {
  const server = resolve(import.meta.dirname, '../fixtures/server.js');
  const broker = await startTestBroker({ env: { BROKER_MCP_COMMAND: `'${process.execPath}' '${server}'` } });
  const discovery = await discover(broker.mcpUrl);
  const tokens = await authorize(discovery, await register(discovery), broker.person('alice'));
  const session = await openSession(broker, tokens.access_token);
  const { ended } = await openStream(broker, tokens.access_token, session);
  const call = await post(broker, tokens.access_token, { jsonrpc: '2.0', id: 7, method: 'never' }, session);
  const answered = call.text();
  await broker[Symbol.asyncDispose]();
  assert.match(await answered, /"id":7,"error"/);
  await ended;
});

test('an answer that is too large is not read to its end', async () => {
  const server = createServer((_request, response) => {
    response.on('error', () => undefined);
    const more = () => {
      while (response.writable && response.write(Buffer.alloc(65_536)));
    };
    response.on('drain', more);
    more();
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const answer = await guardedFetch(`http://127.0.0.1:${port}/`, { timeoutMs: 30_000, maxBytes: 1_000_000 });
  assert.deepEqual(answer, { failure: 'too_large' });
  server.closeAllConnections();
  server.close();
});

test('a UNIX socket left behind is replaced; a living one and any other file are left alone', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fjmcp-socket-'));
  const app = new Hono<NodeEnv>();
  const listen = (path: string) => listenHttp(listenerOf(app), { kind: 'unix', path }, { idleMs: 60_000 });
  const file = join(folder, 'file');
  writeFileSync(file, 'precious');
  await assert.rejects(listen(file), /no socket/);
  const path = join(folder, 'broker.sock');
  {
    await using _first = await listen(path);
    await assert.rejects(listen(path), /in use/);
  }
  const killed = createSocket();
  await new Promise<void>((listening) => killed.listen(path, listening));
  // As after kill -9: nobody listens, but the file is there.
  killed.unref();
  await new Promise((closed) => killed.close(closed));
  await using _again = await listen(path);
  rmSync(folder, { recursive: true, force: true });
});
