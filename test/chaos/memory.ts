/**
 * `node dist/test/chaos/memory.js`: what 10,000 open sessions with 50 live children cost the broker. A process of its own is
 * measured, with all sessions in memory. Fails above the limit.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startForgejo } from '../../src/demo/forgejo/forgejo.js';
import { freePort } from '../../src/demo/free-port.js';
import { connect } from '../fixtures/client.js';
import type { Person } from '../support/browser.js';
import { root } from '../support/command.js';
import { authorize, discover, register } from '../support/oauth-client.js';
import { BrokerProcess, openSocket } from './broker.js';

const USERS = 50;
const SESSIONS_PER_USER = 200;
const LIMIT_BYTES = 250_000_000;
/** Long enough that no session has slept when all are open. */
const IDLE_SECONDS = 300;

const mib = (bytes: number) => Math.round(bytes / 1024 / 1024);

const folder = mkdtempSync(join(tmpdir(), 'fjmcp-memory-'));
const logins = Array.from({ length: USERS }, (_, n) => `user${n + 1}`);
await using forgejo = await startForgejo({
  users: logins.map((login) => ({ login, password: `${login}'s secret` })),
});
const { server, port } = await openSocket();
const url = `http://127.0.0.1:${port}`;
const metrics = `127.0.0.1:${await freePort()}`;
const { clientId, clientSecret } = forgejo.createApplication({
  name: 'broker',
  redirectUris: [`${url}/oauth/callback`],
});
const broker = new BrokerProcess({
  folder,
  server,
  url,
  metricsUrl: `http://${metrics}`,
  env: {
    PATH: process.env.PATH ?? '',
    BROKER_PUBLIC_URL: url,
    BROKER_LISTEN: 'systemd',
    BROKER_METRICS_LISTEN: metrics,
    BROKER_DATABASE: join(folder, 'broker.db'),
    BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
    BROKER_MCP_COMMAND: `${process.execPath} ${join(root, 'dist/test/fixtures/server.js')}`,
    BROKER_CHILD_IDLE_SECONDS: `${IDLE_SECONDS}`,
    FORGEJO_URL: forgejo.url,
    FORGEJO_CLIENT_ID: clientId,
    FORGEJO_CLIENT_SECRET: clientSecret,
  },
});
const gauge = async (name: string) =>
  [...(await broker.scrape())]
    .filter(([series]) => series.startsWith(`${name}{`))
    .reduce((sum, [, value]) => sum + value, 0);

try {
  await broker.start();
  const atStart = broker.memory;
  const discovery = await discover(`${url}/mcp`);
  const open = async (person: Person) => {
    const { access_token } = await authorize(discovery, await register(discovery), person);
    // The first session has a child; it answers the others' `initialize` from then on.
    for (let n = 0; n < SESSIONS_PER_USER; n += 1) await connect(`${url}/mcp`, access_token);
  };
  const waiting = [...forgejo.users];
  const worker = async () => {
    for (let person = waiting.pop(); person !== undefined; person = waiting.pop()) await open(person);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  const [sessions, children] = [await gauge('fjmcp_sessions'), await gauge('fjmcp_children')];
  const { memory } = broker;
  const each = Math.round((memory - atStart) / sessions / 1024);
  process.stdout.write(`${mib(atStart)} MiB at the start\n`);
  process.stdout.write(
    `${mib(memory)} MiB with ${sessions} sessions and ${children} live children: ${each} KiB a session\n`,
  );
  assert.ok(sessions >= USERS * SESSIONS_PER_USER && children >= USERS, 'what was to be measured is there');
  assert.ok(memory < LIMIT_BYTES, `more than ${LIMIT_BYTES} bytes`);
} finally {
  await broker.end('SIGTERM');
  await broker.close();
  rmSync(folder, { recursive: true });
}
