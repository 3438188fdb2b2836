/** /metrics: on the private listener alone, and without a word about users. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BYTE_DIRECTIONS, CALL_OUTCOMES, EVICTIONS } from '../../src/backend/observer.js';
import { MINUTE } from '../../src/base/clock.js';
import { freePort } from '../../src/demo/free-port.js';
import { OAUTH_REASONS } from '../../src/oauth/fault.js';
import { IDENTITY_FAULTS } from '../../src/oauth/identity.js';
import { ask } from '../support/ask.js';
import { startTestBroker } from '../support/broker.js';
import { type Connection, startStage } from '../support/connection.js';
import { root } from '../support/demo.js';
import { nonZero, scrape } from '../support/scrape.js';

async function startScraped() {
  const listen = `127.0.0.1:${await freePort()}`;
  const stage = await startStage({ env: { BROKER_METRICS_LISTEN: listen } });
  return {
    ...stage,
    metricsUrl: `http://${listen}/metrics`,
    scrape: () => scrape(`http://${listen}/metrics`),
    [Symbol.asyncDispose]: () => stage[Symbol.asyncDispose](),
  };
}

/** Opens a session of a client that calls itself `name`; its id. */
async function openSession(mcpUrl: string, { access }: Connection, name: string): Promise<string> {
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name, version: '1' } };
  const { status, headers, body } = await ask(
    mcpUrl,
    'POST',
    { Authorization: `Bearer ${access}`, 'Content-Type': 'application/json', Accept: 'application/json' },
    JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params }),
  );
  assert.equal(status, 200, body);
  return String(headers['mcp-session-id']);
}

test('metrics are on the listener of their own, and on no other', async () => {
  await using it = await startScraped();
  const { headers, body } = await ask(it.metricsUrl);
  assert.match(headers['content-type'] ?? '', /^text\/plain; version=0\.0\.4/);
  assert.equal(headers['cache-control'], 'no-store');
  for (const name of ['fjmcp_sessions', 'process_open_fds', 'nodejs_eventloop_lag_p99_seconds'])
    assert.match(body, new RegExp(`^${name}[{ ]`, 'm'));
  assert.equal((await ask(`${it.broker.url}/metrics`)).status, 404);
});

test('the private listener serves nothing that is for clients', async () => {
  await using it = await startScraped();
  for (const path of [
    '/',
    '/mcp',
    '/oauth/token',
    '/oauth/authorize',
    '/.well-known/oauth-authorization-server',
  ])
    assert.equal((await ask(new URL(path, it.metricsUrl).href)).status, 404, path);
});

test('without an address for them there are no metrics, and health is there all the same', async () => {
  await using broker = await startTestBroker();
  assert.equal((await ask(`${broker.url}/metrics`)).status, 404);
  assert.equal((await ask(`${broker.url}/readyz`)).status, 200);
});

test('metrics may be on a UNIX socket, closed to strangers', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fjmcp-metrics-'));
  try {
    const socketPath = join(folder, 'metrics.sock');
    await using _broker = await startTestBroker({ env: { BROKER_METRICS_LISTEN: `unix:${socketPath}` } });
    const status = await new Promise((resolve, reject) => {
      request({ socketPath, path: '/metrics' }, (answer) => resolve(answer.resume().statusCode))
        .once('error', reject)
        .end();
    });
    assert.equal(status, 200);
    assert.equal(statSync(socketPath).mode & 0o007, 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('metrics on every address of the machine are warned of', async () => {
  for (const [host, warnings] of [
    ['0.0.0.0', 1],
    ['127.0.0.1', 0],
  ] as const) {
    await using broker = await startTestBroker({
      env: { BROKER_METRICS_LISTEN: `${host}:${await freePort()}` },
    });
    assert.equal(broker.log.filter(({ event }) => event === 'metrics.exposed').length, warnings, host);
  }
});

test('an address that is taken stops the start and is told by the name of its variable', async () => {
  const neighbour = createServer().listen(0, '127.0.0.1');
  await once(neighbour, 'listening');
  try {
    await using broker = await startTestBroker();
    const { port } = neighbour.address() as AddressInfo;
    const restart = broker.restart({ BROKER_METRICS_LISTEN: `127.0.0.1:${port}` });
    await assert.rejects(restart, /BROKER_METRICS_LISTEN: cannot listen/);
  } finally {
    neighbour.close();
  }
});

test('sessions and children are counted at the moment of the scrape', async () => {
  await using it = await startScraped();
  const alice = await it.connect('alice');
  assert.deepEqual(nonZero((await it.scrape()).series, 'fjmcp_sessions'), {});
  const id = await openSession(it.broker.mcpUrl, alice, 'test');
  await openSession(it.broker.mcpUrl, await it.connect('bob'), 'test');
  const { series } = await it.scrape();
  assert.deepEqual(nonZero(series, 'fjmcp_sessions'), { 'fjmcp_sessions{state="live",server="forgejo"}': 2 });
  assert.deepEqual(nonZero(series, 'fjmcp_children'), { 'fjmcp_children{server="forgejo"}': 2 });
  const as = { Authorization: `Bearer ${alice.access}`, 'Mcp-Session-Id': id };
  assert.equal((await ask(it.broker.mcpUrl, 'DELETE', as)).status, 204);
  assert.deepEqual(nonZero((await it.scrape()).series, 'fjmcp_sessions'), {
    'fjmcp_sessions{state="live",server="forgejo"}': 1,
  });
});

test('HTTP requests are counted by route and status', async () => {
  await using it = await startScraped();
  const { url } = it.broker;
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', '/healthz'],
    ['GET', '/readyz'],
    ['POST', '/mcp'],
    ['GET', '/mcp/forgejo'],
    ['GET', '/mcpx'],
    ['GET', '/.well-known/oauth-authorization-server'],
    ['POST', '/oauth/token'],
    ['POST', '/token/'],
    ['POST', '/oauth/register'],
    ['POST', '/register'],
    ['GET', '/oauth/authorize'],
    ['GET', '/authorize'],
    ['GET', '/oauth/callback'],
    ['POST', '/oauth/revoke'],
    ['POST', '/revoke'],
    ['POST', '/oauth/introspect'],
    ['GET', '/metrics'],
  ] as const)
    await ask(url + path, method);
  await ask(`${url}/oauth/consent`, 'GET', { Host: 'evil.example' });
  const count = (route: string, status: number) =>
    `fjmcp_http_requests_total{route="${route}",status="${status}"}`;
  assert.deepEqual(nonZero((await it.scrape()).series, 'fjmcp_http_requests_total'), {
    [count('home', 200)]: 1,
    [count('health', 200)]: 2,
    // One more by the discovery of the stage, which reads two documents.
    [count('mcp', 401)]: 3,
    [count('well_known', 200)]: 3,
    [count('token', 400)]: 2,
    [count('register', 400)]: 2,
    [count('authorize', 400)]: 2,
    [count('callback', 400)]: 1,
    [count('revoke', 400)]: 2,
    [count('introspect', 400)]: 1,
    [count('other', 404)]: 2,
    [count('consent', 403)]: 1,
  });
});

test('token requests are counted by grant type and reason, refreshes at Forgejo by outcome', async () => {
  await using it = await startScraped();
  const alice = await it.connect('alice');
  await alice.refresh();
  await alice.tryRefresh('fjr_nobody-issued-it');
  await alice.ask({ grant_type: 'alice-grant' });
  await alice.ask({ client_id: 'nobody', grant_type: 'refresh_token' });
  // Beyond the life of Forgejo's token, within that of ours.
  it.forward(50 * MINUTE);
  await alice.refresh();
  it.forward(50 * MINUTE);
  await openSession(it.broker.mcpUrl, alice, 'test');
  const { series } = await it.scrape();
  const token = (grant: string, outcome: string) =>
    `fjmcp_token_requests_total{grant_type="${grant}",outcome="${outcome}"}`;
  assert.deepEqual(nonZero(series, 'fjmcp_token_requests_total'), {
    [token('authorization_code', 'issued')]: 1,
    [token('refresh_token', 'issued')]: 2,
    [token('refresh_token', 'refresh_unknown')]: 1,
    [token('other', 'grant_type_unsupported')]: 1,
    [token('refresh_token', 'client_unknown')]: 1,
  });
  assert.deepEqual(nonZero(series, 'fjmcp_upstream_refreshes_total'), {
    'fjmcp_upstream_refreshes_total{outcome="refreshed"}': 1,
  });
});

test('a client that asks too often is counted as limited', async () => {
  await using it = await startScraped();
  const alice = await it.connect('alice');
  const limited = 'fjmcp_token_requests_total{grant_type="refresh_token",outcome="limited"}';
  let refused = 0;
  for (let batch = 0; batch < 31 && refused === 0; batch += 1) {
    const answers = await Promise.all(Array.from({ length: 10 }, () => alice.tryRefresh()));
    refused = answers.filter(({ status }) => status === 429).length;
  }
  assert.ok(refused > 0);
  assert.equal((await it.scrape()).series.get(limited), refused);
});

const STATUSES = /^(?:[2-5]\d\d|other)$/;
const ROUTES =
  /^(?:home|health|authorize|consent|callback|token|register|revoke|introspect|mcp|well_known|other)$/;
const ALLOWED: Readonly<Record<string, RegExp | readonly string[]>> = {
  server: ['forgejo'],
  state: ['dormant', 'starting', 'live', 'replacing'],
  route: ROUTES,
  status: STATUSES,
  grant_type: ['authorization_code', 'refresh_token', 'other'],
  outcome: [
    ...['issued', 'limited', 'refreshed', 'superseded', 'unsaved'],
    ...CALL_OUTCOMES,
    ...OAUTH_REASONS,
    ...IDENTITY_FAULTS,
  ],
  how: ['neverStarted', 'exited', 'signalled', 'closedByUs'],
  why: EVICTIONS,
  direction: BYTE_DIRECTIONS,
  le: /^(?:[\d.]+|\+Inf)$/,
};

test('no label says who did what: after traffic with marks on everything, none of them is in the metrics', async () => {
  await using it = await startScraped();
  const { broker } = it;
  const alice = await it.connect('alice');
  const session = await openSession(broker.mcpUrl, alice, 'marker-client');
  await alice.refresh();
  await alice.ask({ grant_type: 'marker-grant' });
  await alice.ask({ client_id: 'marker-id', grant_type: 'refresh_token' });
  for (const path of [
    '/marker-path',
    '/mcp/marker-server',
    '/.well-known/marker',
    '/oauth/authorize?state=marker',
  ])
    await ask(broker.url + path, 'GET', { Host: 'marker.example', 'User-Agent': 'marker' });
  await ask(broker.mcpUrl, 'POST', { Authorization: 'Bearer marker', 'Mcp-Session-Id': 'marker' });
  const { text, series } = await it.scrape();
  assert.ok(series.size > 100, String(series.size));
  const marks = [
    'marker',
    'alice',
    'Referee',
    session,
    alice.client.clientId,
    alice.access,
    alice.refreshToken,
  ];
  for (const mark of [...marks, 'us_', 'gr_', 'se_', 'cl_', 'fja_', 'fjr_', '127.0.0.1'])
    assert.equal(text.includes(mark), false, mark);
  for (const name of [...series.keys()].filter((key) => key.startsWith('fjmcp_'))) {
    for (const [, label = '', value = ''] of name.matchAll(/(\w+)="([^"]*)"/g)) {
      const allowed = ALLOWED[label];
      assert.ok(
        allowed instanceof RegExp ? allowed.test(value) : allowed?.includes(value),
        `${label}=${value}`,
      );
    }
  }
});

test('docs/operations.md lists every metric of the broker with its type and labels, and no other', async () => {
  await using it = await startScraped();
  await ask(`${it.broker.url}/oauth/token`, 'POST');
  const { text, series } = await it.scrape();
  const made = new Map(
    [...text.matchAll(/^# TYPE (fjmcp_\w+) (\w+)/gm)].map(([, name = '', type]) => [name, [`${type}`, '?']]),
  );
  for (const key of series.keys()) {
    const found = made.get(key.replace(/(?:_bucket|_sum|_count)?\{.*/, ''));
    const labels = [...key.matchAll(/(\w+)="/g)].map(([, label]) => label).filter((label) => label !== 'le');
    if (found !== undefined) found[1] = labels.join();
  }
  const page = readFileSync(join(root, 'docs/operations.md'), 'utf8');
  const told = new Map(
    [...page.matchAll(/^\| `(fjmcp_\w+)(?:\{([\w,]+)\})?` \| (\w+) \|/gm)].map(
      ([, name = '', labels = '', type]) => [name, [type, labels]],
    ),
  );
  assert.equal(made.size, 13);
  assert.deepEqual(told, made);
});
