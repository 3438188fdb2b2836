/**
 * `node dist/test/chaos/run.js [--seconds N] [--seed N]`: twenty users, each with clients of both eras, work with a broker to
 * which everything happens that can happen. At the end every request is accounted for, nobody heard what was another's, no
 * session and no sign-in is lost, and nothing is left over. Prints the figures; fails with the breaches and the seed.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startForgejo } from '../../src/demo/forgejo/forgejo.js';
import { freePort } from '../../src/demo/free-port.js';
import { discover } from '../support/oauth-client.js';
import { BrokerProcess, openSocket, processesMarked } from './broker.js';
import { Chance } from './chance.js';
import { openDisk } from './disk.js';
import { Chaos } from './events.js';
import { Ledger } from './ledger.js';
import { User } from './load.js';
import { Meter, report } from './report.js';
import { Upstream } from './upstream.js';
import { checkCancelled } from './words.js';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '120' },
    seed: { type: 'string', default: `${randomInt(1_000_000)}` },
    keep: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
const seed = Number(values.seed);
assert.ok(seconds >= 10 && Number.isInteger(seed), 'at least --seconds 10; --seed is a whole number');

const USERS = 20;
/** Short enough that children are replaced under load several times. */
const ACCESS_TOKEN_SECONDS = Math.max(15, Math.min(45, Math.floor(seconds / 3)));
const WARM_UP_MS = 3000;
const CALM_MS = 3000;
/** What is slow, what hangs at Forgejo, what waits for a child that kept ending. */
const LAST_ANSWERS_MS = 75_000;
const SETTLE_MS = 30_000;
/** By each end of a broker. */
const MAX_RACED = 2;
/** What is freed, the allocator may keep for the process. */
const MAX_GROWTH_BYTES = 64 * 1024 * 1024;

// Everybody waits for the same end.
setMaxListeners(0);

const startedAt = Date.now();
const say = (what: string) =>
  void process.stderr.write(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${what}\n`);

const chance = new Chance(seed);
const ledger = new Ledger();
const folder = mkdtempSync(join(tmpdir(), 'fjmcp-chaos-'));
const mark = basename(folder);
const temporary = join(folder, 'tmp');
mkdirSync(temporary);
say(`seed ${seed}, ${seconds} s, ${folder}`);

using disk = openDisk(join(folder, 'disk'));
const logins = Array.from({ length: USERS }, (_, n) => `user${n + 1}`);
await using forgejo = await startForgejo({
  accessTokenSeconds: ACCESS_TOKEN_SECONDS,
  users: logins.map((login) => ({ login, password: `${login}'s secret` })),
});
const { server, port } = await openSocket();
const url = `http://127.0.0.1:${port}`;
const mcpUrl = `${url}/mcp`;
const metrics = `127.0.0.1:${await freePort()}`;
const serversFile = join(folder, 'servers.json');
const child = {
  command: process.execPath,
  args: [resolve(import.meta.dirname, 'server.js'), `--run=${mark}`],
  env: { CHAOS_USER: `\${user.login}` },
};
writeFileSync(serversFile, JSON.stringify({ mcpServers: { chaos: child } }));
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
    TMPDIR: temporary,
    BROKER_PUBLIC_URL: url,
    BROKER_LISTEN: 'systemd',
    BROKER_METRICS_LISTEN: metrics,
    BROKER_DATABASE: join(disk.folder, 'broker.db'),
    BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
    BROKER_SERVERS_FILE: serversFile,
    BROKER_ACCESS_TOKEN_SECONDS: '60',
    BROKER_CHILD_IDLE_SECONDS: '2',
    BROKER_MAX_CHILDREN_PER_USER: '3',
    BROKER_REQUEST_SECONDS: '40',
    BROKER_DRAIN_SECONDS: '2',
    BROKER_MAX_MESSAGE_BYTES: `${4 * 1024 * 1024}`,
    FORGEJO_URL: forgejo.url,
    FORGEJO_CLIENT_ID: clientId,
    FORGEJO_CLIENT_SECRET: clientSecret,
  },
});
broker.onUnexpectedEnd = (code) => {
  ledger.breach('the broker ended by itself', `exit code ${code}`);
};
await broker.start();
const descriptorsBefore = broker.descriptors;
const meter = new Meter(broker);

say('signing in');
const discovery = await discover(mcpUrl);
const expired = new Map<string, number>();
const users: User[] = [];
for (const [n, person] of forgejo.users.entries()) {
  const isExpired = (login: string) => (expired.get(login) ?? 0) > Date.now();
  const address = `203.0.113.${n + 1}`;
  users.push(await User.signIn({ discovery, person, address, chance: chance.fork(), ledger, isExpired }));
}
const upstream = new Upstream(forgejo);
upstream.beginLife();

say(`load: ${users.flatMap(({ sessions }) => sessions).length} sessions, ${users.length} modern clients`);
const stop = new AbortController();
const load = Promise.all(users.map((user) => user.live(stop.signal)));
await sleep(WARM_UP_MS);
const stage = {
  ...{ broker, forgejo, upstream, disk, ledger, users, mcpUrl, mark, expired, say },
  accessTokenSeconds: ACCESS_TOKEN_SECONDS,
};
const chaos = new Chaos(stage, chance.fork());
await chaos.run(seconds);
say('calm');
await sleep(CALM_MS);
stop.abort();
await settled('every call has ended', LAST_ANSWERS_MS, () => ledger.isDone);
for (const call of ledger.openCalls) ledger.breach('a call that was never answered', call);
if (ledger.isDone) await load;

say('every session, and every client without one, once more');
await Promise.all(
  users.flatMap(({ sessions, modern }) =>
    [...sessions, modern].map(async (client) => {
      for (let tries = 0; tries < 70; tries += 1) {
        if (await client.call('echo', {})) return;
        await sleep(1000);
      }
      ledger.breach('a client that works no more', client.name);
    }),
  ),
);

checkCancelled(ledger);

say('rest');
for (const user of users) user[Symbol.dispose]();
const isQuiet = async () => {
  const series = await broker.scrape();
  return [...series].every(([name, value]) => !name.startsWith('fjmcp_children') || value === 0);
};
await settled('no child is left', SETTLE_MS, isQuiet);
const guardians = ({ command }: { command: string }) => command.includes('fjmcp-guardian');
const isOurs = ({ pid, command }: { pid: number; command: string }) =>
  pid !== broker.pid && !guardians({ command }) && !command.includes('while read -r order');
await settled('no process of a child is left', SETTLE_MS, () => !processesMarked(mark).some(isOurs));
const same = () => describe(broker.descriptors) === describe(descriptorsBefore);
await settled('the descriptors are those of the start', SETTLE_MS, same);
const descriptorsAfter = broker.descriptors;
if (!same()) ledger.breach('descriptors', `${describe(descriptorsBefore)} -> ${describe(descriptorsAfter)}`);
const bound = meter.warmMemory + MAX_GROWTH_BYTES;
await settled('memory is back at its level', SETTLE_MS, () => {
  broker.tidy();
  return broker.memory <= bound;
});
const memoryAfter = broker.memory;
const last = await broker.end('SIGTERM');
if (last.code !== 0 || last.survivors > 0) ledger.breach('the last end', JSON.stringify(last));
meter[Symbol.dispose]();
await broker.close();
for (const { command } of processesMarked(mark)) ledger.breach('a process that is left over', command);
for (const name of readdirSync(temporary)) ledger.breach('a temporary folder that is left over', name);

const raced = ledger.outcomes.get('raced') ?? 0;
if (raced > broker.lives * MAX_RACED) ledger.breach('many connections ended under a request', `${raced}`);

const log = readFileSync(broker.logFile, 'utf8');
const failed = report({
  ...{ seed, seconds, ledger, broker, meter, log, disk: disk.kind },
  sessions: users.flatMap(({ sessions }) => sessions).length,
  modernClients: users.length,
  descriptors: [descriptorsBefore.length, descriptorsAfter.length],
  memory: [meter.warmMemory, memoryAfter],
});
if (failed) process.exitCode = 1;
if (failed || values.keep) say(`the log of the broker: ${broker.logFile}`);
else process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

async function settled(
  what: string,
  withinMs: number,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = Date.now() + withinMs;
  while (!(await condition())) {
    if (Date.now() > end) {
      ledger.breach(`never came: ${what}`);
      return;
    }
    await sleep(50);
  }
  say(what);
}

/** How many there are of each kind. */
function describe(descriptors: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of descriptors) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts]
    .map(([name, count]) => `${count} ${name}`)
    .toSorted((a, b) => a.localeCompare(b))
    .join(', ');
}
