/** What is measured. Each measure asks through the one load generator, one target at a time. */
import { spawnSync } from 'node:child_process';
import { freemem } from 'node:os';
import { join } from 'node:path';
import type { Figures } from './figures.js';
import type { LoadJob, LoadResult } from './load.js';
import { type EchoChild, type Loader, processorMs, startServer } from './programs.js';
import { accessToken, codeForm, refreshForm, SESSIONS_PER_USER } from './seed.js';
import {
  as,
  type BrokerTarget,
  beginSession,
  callOf,
  headOf,
  initializeBody,
  modernCallOf,
  openSession,
  requestOf,
  startBroker,
  startPeer,
  startRelay,
  storedHead,
  type Target,
} from './targets.js';

export interface Plan {
  readonly relays: readonly RelayPlan[];
  readonly child: EchoChild;
  readonly loader: Loader;
  readonly rounds: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** Until a program has compiled its hot path. */
  readonly heatMs: number;
  readonly liveChildren: number;
  readonly sleepingSessions: readonly number[];
  /** How many token requests of each kind a measure may use up. */
  readonly tokenRequests: number;
  readonly rowsOfYears: number;
  readonly note: (text: string) => void;
}

/** What a measure found out about where it ran. */
export type Facts = Readonly<Record<string, string | number>>;

/** `small` is an answer of some 80 bytes. */
const SIZES = { small: 0, '64 KiB': 64 * 1024, '4 MiB': 4 * 1024 * 1024 } as const;
interface RelayPlan {
  readonly size: keyof typeof SIZES;
  /** In the modern era, which has none: grants. */
  readonly sessions: 1 | 50;
  readonly connections: readonly number[];
}
export const RELAYS: Readonly<Record<'quick' | 'full', readonly RelayPlan[]>> = {
  quick: [
    { size: 'small', sessions: 1, connections: [1, 8, 32, 128] },
    { size: 'small', sessions: 50, connections: [8, 32] },
    { size: '64 KiB', sessions: 1, connections: [1, 8, 32] },
    { size: '4 MiB', sessions: 1, connections: [1, 8] },
  ],
  full: [
    { size: 'small', sessions: 1, connections: [1, 8, 32, 128] },
    { size: 'small', sessions: 50, connections: [1, 8, 32, 128] },
    { size: '64 KiB', sessions: 1, connections: [1, 8, 32, 128] },
    { size: '64 KiB', sessions: 50, connections: [8, 32] },
    { size: '4 MiB', sessions: 1, connections: [1, 8, 32] },
  ],
};
const ONE_BY_ONE = 'small, 1 connections';
const COLD_STARTS = 10;
const KNOWN_STARTS = 200;
/** Sessions in the database: first those that are counted, from here on those that are woken. */
const WOKEN_FROM = 5000;
const TOKEN_CONNECTIONS = 8;
const BYTES_PER_LIVE_CHILD = 6 * 1024 * 1024;

/** The load generator against servers that do nothing, and the child without a bridge. */
export async function measureLimits(plan: Plan, figures: Figures): Promise<Facts> {
  for (const kind of ['net', 'http'] as const) {
    await using server = await startServer('hello.js', [kind]);
    const target: Target = { ...server, name: 'relay', headers: '' };
    for (const connections of [1, 8, 32, 128]) {
      const requests = { ...callOf([headOf(target, 'none')], 0), checkId: false };
      const result = await ask(plan, { port: server.port, connections, requests });
      figures.add(`hello, ${connections} connections`, `node:${kind}`, 'requests/s', perSecond(result));
    }
  }
  for (const inFlight of [1, 8, 32]) {
    const { perSecond, p50Us } = askDirectly(plan, inFlight);
    figures.add(`stdio, ${inFlight} in flight: throughput`, 'child', 'requests/s', perSecond);
    figures.add(`stdio, ${inFlight} in flight: p50`, 'child', 'µs', p50Us);
  }
  return {};
}

function askDirectly({ child, measureMs }: Plan, inFlight: number) {
  const file = join(import.meta.dirname, 'direct.js');
  const args = [file, `${inFlight}`, `${measureMs}`, ...child.words];
  const { stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  return JSON.parse(stdout) as { readonly perSecond: number; readonly p50Us: number };
}

/** All targets are up, and take turns in each round and row. */
export async function measureRelays(plan: Plan, figures: Figures): Promise<Facts> {
  await using broker = await startBroker({ child: plan.child, rows: 60, sessions: 0 });
  await using relay = await startRelay(plan.child);
  await using supergateway = await startPeer('supergateway', plan.child);
  await using mcpProxy = await startPeer('mcp-proxy', plan.child);
  // The same process, asked in the other era.
  const modern: Target = { ...broker, name: 'broker, modern' };
  const targets: readonly Target[] = [broker, modern, relay, supergateway, mcpProxy];
  const heads = new Map<Target, readonly string[]>();
  const requestsTo = (target: Target, sessions: number, bytes: number) =>
    target === modern
      ? modernCallOf(modern, bytes, sessions)
      : callOf((heads.get(target) ?? []).slice(0, sessions), bytes);
  for (const target of targets) {
    if (target === modern) continue;
    const sessions: string[] = [];
    for (let i = 0; i < 50; i += 1) sessions.push(headOf(target, await openSession(target)));
    heads.set(target, sessions);
  }
  plan.note('relaying: warming up');
  for (const target of targets) {
    const requests = requestsTo(target, 50, 0);
    await ask(plan, { port: target.port, connections: 8, requests, measureMs: plan.heatMs });
  }
  for (let round = 0; round < plan.rounds; round += 1) {
    plan.note(`relaying, round ${round + 1} of ${plan.rounds}`);
    const direct = askDirectly(plan, 1);
    for (const row of plan.relays.flatMap(turnsOf)) {
      const { size, sessions, connections } = row;
      for (const target of targets) {
        const requests = requestsTo(target, sessions, SIZES[size]);
        const spent = processorMs(target.pid);
        // With large answers V8 collects time and again until its limits have grown.
        const warmUpMs = SIZES[size] === 0 ? plan.warmUpMs : 4 * plan.warmUpMs;
        const measureMs = plan.measureMs * row.share;
        const result = await ask(plan, { port: target.port, connections, requests, warmUpMs, measureMs });
        const spentMs = (processorMs(target.pid) ?? 0) - (spent ?? 0);
        const of = sessions === 1 ? '' : `, ${sessions} sessions`;
        const name = `${size}${of}, ${connections} connections`;
        figures.add(`${name}: throughput`, target.name, 'requests/s', perSecond(result));
        figures.add(`${name}: p50`, target.name, 'µs', result.p50Us);
        figures.add(`${name}: p99`, target.name, 'µs', result.p99Us);
        if (name === ONE_BY_ONE)
          figures.add(`${name}: p50, less the child's own`, target.name, 'µs', result.p50Us - direct.p50Us);
        if (spent !== undefined)
          figures.add(`${name}: processor`, target.name, 'µs', (spentMs * 1000) / result.allAnswers);
      }
    }
  }
  return { sandbox: broker.sandbox };
}

/** What is measured of the targets one after the other, for a part of the time that is meant for it. */
interface Turn {
  readonly size: keyof typeof SIZES;
  readonly sessions: 1 | 50;
  readonly connections: number;
  readonly share: number;
}

/**
 * The rows that the goals are about are measured in several short turns, so that a bad moment of the machine falls on all
 * targets alike.
 */
function turnsOf({ size, sessions, connections: counts }: RelayPlan): Turn[] {
  const turns = size === 'small' && sessions === 1 ? TURNS : 1;
  const share = turns === 1 ? 1 : 0.5;
  return counts.flatMap((connections) =>
    Array.from({ length: turns }, () => ({ size, sessions, connections, share })),
  );
}

const TURNS = 3;

/** What it costs to begin, to wake, and to be there. */
export async function measureSessions(plan: Plan, figures: Figures): Promise<Facts> {
  const stored = 20_000;
  const live = Math.min(plan.liveChildren, Math.floor(freemem() / BYTES_PER_LIVE_CHILD));
  await using broker = await startBroker({ child: plan.child, rows: 1000, sessions: stored });
  await using relay = await startRelay(plan.child);
  await using supergateway = await startPeer('supergateway', plan.child);
  await using mcpProxy = await startPeer('mcp-proxy', plan.child);
  plan.note('sessions: their beginning');
  for (const target of [broker, relay, supergateway, mcpProxy]) {
    await openSession(target);
    const cold = Array.from({ length: COLD_STARTS }, (_, i) => initialize(target, `cold ${i}`));
    const result = await ask(plan, { ...inTurn(target, cold) });
    figures.add('initialize, cold', target.name, 'ms', result.p50Us / 1000);
  }
  const known = Array.from({ length: KNOWN_STARTS }, (_, i) =>
    initialize(as(broker, 50 + (i % 50)), 'known'),
  );
  for (let user = 50; user < 100; user += 1) await openSession(as(broker, user), 'known');
  const initialized = await ask(plan, inTurn(broker, known));
  figures.add('initialize, known handshake', 'broker', 'ms', initialized.p50Us / 1000);

  const coldCalls: string[] = [];
  for (let i = 0; i < COLD_STARTS; i += 1) {
    const session = await beginSession(as(broker, 60 + i), 'known');
    const { beforeId, afterId } = callOf([], 0);
    coldCalls.push(requestOf(headOf(as(broker, 60 + i), session), `${beforeId}${i}${afterId}`));
  }
  const first = await ask(plan, inTurn(broker, coldCalls));
  figures.add('first answer of a new session, cold child', 'broker', 'ms', first.p50Us / 1000);

  const wake = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => {
      const { beforeId, afterId } = callOf([], 0);
      return requestOf(storedHead(broker, from + i), `${beforeId}${i}${afterId}`);
    });
  const woken = await ask(plan, inTurn(broker, wake(WOKEN_FROM, COLD_STARTS)));
  figures.add('first answer of a sleeping session', 'broker', 'ms', woken.p50Us / 1000);

  plan.note('sessions: their memory');
  const count = 5000;
  const loading = { beforeId: '{"jsonrpc":"2.0","id":1', afterId: ',"method":"ping"}' };
  const pings = Array.from({ length: count }, (_, i) =>
    requestOf(storedHead(broker, i), loading.beforeId + loading.afterId),
  );
  // What the first of them brings along is no session's.
  await ask(plan, { ...inTurn(broker, pings.slice(0, 500)), connections: 8 });
  const before = await broker.memory();
  await ask(plan, { ...inTurn(broker, pings.slice(500)), connections: 8 });
  const asleep = await broker.memory();
  const loaded = count - 500;
  figures.add('memory of a sleeping session', 'broker', 'KB', (asleep.used - before.used) / loaded / 1000);
  figures.add(
    'resident memory of a sleeping session',
    'broker',
    'KB',
    (asleep.rss - before.rss) / loaded / 1000,
  );

  plan.note(`sessions: ${live} live children`);
  const from = WOKEN_FROM + SESSIONS_PER_USER;
  await ask(plan, { ...inTurn(broker, wake(from, live)), connections: 8, measureMs: 180_000 });
  const awake = await broker.memory();
  figures.add(`memory of a live child, of ${live}`, 'broker', 'KB', (awake.used - asleep.used) / live / 1000);
  figures.add(
    `resident memory of a live child, of ${live}`,
    'broker',
    'KB',
    (awake.rss - asleep.rss) / live / 1000,
  );
  return { sandbox: broker.sandbox, liveChildren: live };
}

const initialize = (target: Target, clientName: string): string => {
  const { beforeId, afterId } = initializeBody(clientName);
  return requestOf(headOf(target), `${beforeId}1${afterId}`);
};

/** The authorization server, and what grows with what is stored or in memory. */
export async function measureGrowth(plan: Plan, figures: Figures): Promise<Facts> {
  for (const sleeping of plan.sleepingSessions) {
    plan.note(`growth: ${sleeping} sleeping sessions`);
    const rows = Math.max(2 * plan.tokenRequests, 1000);
    await measureUnder(`${sleeping} sleeping sessions`, sleeping, rows, plan, figures);
  }
  plan.note(`growth: ${plan.rowsOfYears} rows in each table`);
  const name = `${plan.rowsOfYears} rows in each table`;
  await measureUnder(name, plan.rowsOfYears, plan.rowsOfYears, plan, figures, 10);
  return {};
}

async function measureUnder(
  name: string,
  stored: number,
  rows: number,
  plan: Plan,
  figures: Figures,
  sleeping = stored,
): Promise<void> {
  await using broker = await startBroker({ child: plan.child, rows, sessions: stored + 1000 });
  const { port } = broker;
  const beforeId = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
  const pings = Array.from({ length: sleeping }, (_, i) => requestOf(storedHead(broker, i), beforeId));
  await ask(plan, { ...inTurn(broker, pings), connections: 8 });
  const add = (what: string, unit: 'requests/s' | 'ms', value: number) =>
    figures.add(what, name, unit, value);

  const user = Math.ceil((stored + 1000) / SESSIONS_PER_USER) + 1;
  const session = await openSession(as(broker, user), 'known');
  const call = callOf([headOf(as(broker, user), session)], 0);
  await ask(plan, { port, connections: 8, requests: call, measureMs: plan.heatMs });
  add(
    'calls, 8 connections',
    'requests/s',
    perSecond(await ask(plan, { port, connections: 8, requests: call })),
  );
  const heads = Array.from(
    { length: Math.min(rows, 1000) },
    (_, i) =>
      `GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${accessToken(i)}\r\n\r\n`,
  );
  const checks = Array.from({ length: 20_000 }, (_, i) => heads[i % heads.length] ?? '');
  const checked = await ask(plan, {
    ...inTurn(broker, checks),
    connections: 8,
    status: 405,
    measureMs: 10_000,
  });
  add('bearer checks, 8 connections', 'requests/s', perSecond(checked));
  const file = join(import.meta.dirname, 'checks.js');
  const inside = spawnSync(process.execPath, [file, broker.database, broker.origin, `${rows}`], {
    encoding: 'utf8',
  });
  const took = JSON.parse(inside.stdout) as { readonly stored: number; readonly remembered: number };
  figures.add('bearer check, from the database', name, 'µs', took.stored);
  figures.add('bearer check, from memory', name, 'µs', took.remembered);
  const known = Array.from({ length: KNOWN_STARTS }, () => initialize(as(broker, user), 'known'));
  add('initialize, known handshake', 'ms', (await ask(plan, inTurn(broker, known))).p50Us / 1000);
  const recalled = Array.from({ length: 1000 }, (_, i) =>
    requestOf(storedHead(broker, stored + i), beforeId),
  );
  add('stored session found, p50', 'ms', (await ask(plan, inTurn(broker, recalled))).p50Us / 1000);
  for (const [what, form] of [
    ['code redemptions', codeForm],
    ['refreshes', refreshForm],
  ] as const) {
    const requests = Array.from({ length: plan.tokenRequests }, (_, i) =>
      tokenRequest(broker, form(rows - 1 - i), i),
    );
    const result = await ask(plan, {
      ...inTurn(broker, requests),
      connections: TOKEN_CONNECTIONS,
      measureMs: 15_000,
    });
    add(`${what}, ${TOKEN_CONNECTIONS} connections`, 'requests/s', perSecond(result));
  }
}

/** Each from a network of its own: how often one may ask is limited. */
function tokenRequest({ port }: BrokerTarget, form: string, i: number): string {
  const network = `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
  const head =
    `POST /oauth/token HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nX-Forwarded-For: ${network}\r\n` +
    'Content-Type: application/x-www-form-urlencoded\r\n';
  return requestOf(head, form);
}

type Asked = Pick<LoadJob, 'port' | 'connections' | 'requests'> & Partial<LoadJob>;

const inTurn = ({ port }: Target, requests: readonly string[]): Asked => ({
  port,
  connections: 1,
  requests: { kind: 'listed', requests },
  warmUpMs: 0,
  measureMs: 60_000,
});

const ask = ({ loader, warmUpMs, measureMs }: Plan, job: Asked): Promise<LoadResult> =>
  loader.run({ warmUpMs, measureMs, status: 200, ...job });

const perSecond = ({ answers, seconds }: LoadResult): number => answers / seconds;
