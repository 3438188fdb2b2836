/** What the stand-in does on demand to requests, so that a broker's patience can be tested. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startForgejo } from '../support/forgejo.js';
import { startWire } from './wire.js';

function isConnectionLost(error: unknown): boolean {
  const { cause } = error as Error;
  return (
    cause instanceof Error && ['ECONNRESET', 'UND_ERR_SOCKET'].includes(String(Reflect.get(cause, 'code')))
  );
}

test('a bad gateway is an HTML 502 for the paths it was set for, until it is cleared', async () => {
  await using wire = await startWire();
  const { faults } = wire.forgejo;
  faults.badGateway('/api/v1/user');
  const answer = await wire.api('/user');
  assert.equal(answer.status, 502);
  assert.match(answer.headers.get('content-type') ?? '', /^text\/html/);
  assert.equal((await wire.api('/user/repos')).status, 502, 'and for everything below them');
  assert.equal((await wire.api('/users/alice/tokens')).status, 401);
  assert.equal((await wire.api('/version')).status, 200);
  faults.badGateway();
  assert.equal((await wire.api('/version')).status, 502);
  faults.clear();
  assert.equal((await wire.api('/version')).status, 200);
});

test('a garbled answer is no JSON, and its request is undone', async () => {
  await using wire = await startWire();
  const { refresh_token } = await wire.tokens();
  wire.forgejo.faults.garble('/login/oauth/access_token');
  const { status, text } = await wire.refresh(refresh_token);
  assert.equal(status, 200);
  assert.throws(() => JSON.parse(text), SyntaxError);
  wire.forgejo.faults.clear();
  assert.equal((await wire.refresh(refresh_token)).status, 200);
});

test('a reset ends the connection with the request undone', async () => {
  await using wire = await startWire();
  const { refresh_token } = await wire.tokens();
  wire.forgejo.faults.reset('/login/oauth/access_token');
  await assert.rejects(wire.refresh(refresh_token), isConnectionLost);
  wire.forgejo.faults.clear();
  assert.equal((await wire.refresh(refresh_token)).status, 200);
});

test('a lost answer ends the connection with the request done', async () => {
  await using wire = await startWire();
  const { refresh_token } = await wire.tokens();
  wire.forgejo.faults.loseAnswer('/login/oauth/access_token');
  await assert.rejects(wire.refresh(refresh_token), isConnectionLost);
  wire.forgejo.faults.clear();
  assert.match((await wire.refresh(refresh_token)).text, /token was already used/);
});

test('a slow answer comes late, and a hanging one never', async () => {
  await using wire = await startWire();
  const { faults } = wire.forgejo;
  faults.slow(50);
  const started = performance.now();
  assert.equal((await wire.api('/version')).status, 200);
  assert.ok(performance.now() - started >= 49);
  faults.hang('/api/v1/version');
  const signal = AbortSignal.timeout(50);
  await assert.rejects(wire.api('/version', undefined, { signal }), { name: 'TimeoutError' });
});

test('a request that hangs ends when its connection is ended', async () => {
  await using wire = await startWire();
  const { faults } = wire.forgejo;
  faults.hang('/api/v1/version');
  const lost = assert.rejects(wire.api('/version'), isConnectionLost);
  while (faults.count('/api/v1/version') === 0) await new Promise(setImmediate);
  faults.clear();
  faults.hangUp();
  await lost;
});

test('closing does not wait for requests that hang or are slow', async () => {
  const forgejo = await startForgejo({ subPath: '/git' });
  forgejo.faults.hang('/api/v1/version');
  forgejo.faults.slow(60_000, '/api/healthz');
  const lost = ['/api/v1/version', '/api/healthz'].map((path) =>
    assert.rejects(fetch(forgejo.url + path), isConnectionLost),
  );
  while (forgejo.faults.count('/') < 2) await new Promise(setImmediate);
  await forgejo.close();
  await Promise.all(lost);
  await forgejo.close();
});

test('requests are counted by path', async () => {
  await using wire = await startWire();
  await wire.api('/version');
  await wire.api('/version/');
  await wire.api('/user');
  const { faults } = wire.forgejo;
  assert.deepEqual(
    ['/api/v1/version', '/api/v1/user', '/api/v1', '/', '/login'].map((path) => faults.count(path)),
    [2, 1, 3, 3, 0],
  );
});

test('a port that is taken is an error at the start', async () => {
  await using forgejo = await startForgejo();
  const port = Number(new URL(forgejo.url).port);
  await assert.rejects(startForgejo({ port }), { code: 'EADDRINUSE' });
});
