/**
 * What one bearer check takes inside the process: `node checks.js DATABASE ORIGIN ROWS` prints the medians. Each is the only one
 * of its turn of the event loop, which is the dearest case: each has to ask SQLite whether something changed.
 */

import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { sha256 } from '../../src/base/ids.js';
import { Tokens } from '../../src/oauth/tokens.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';
import { medianOf } from './figures.js';
import { accessToken } from './seed.js';

const [path = '', origin = '', rows = '1'] = process.argv.slice(2);
const TOKENS = Math.min(Number(rows), 2000);
const HEAT = 10_000;

await using store = openSqliteStore(path);
const tokens = new Tokens({
  store,
  audit: () => Promise.reject(new Error('nothing happens here')),
  knowsKey: () => true,
  onGrantRevoked: () => undefined,
  resources: { origin, endpoints: [`${origin}/mcp`] },
  lifetimes: { accessTokenSeconds: 3600, refreshTokenSeconds: 3600, codeSeconds: 300 },
  now: Date.now,
  random: (size) => Buffer.alloc(size),
});

async function check(row: number): Promise<number> {
  await nextTurn();
  const from = performance.now();
  const caller = await tokens.authenticate(sha256(accessToken(row)), `${origin}/mcp`);
  const tookUs = (performance.now() - from) * 1000;
  if ('fault' in caller) throw new Error(caller.fault);
  return tookUs;
}

/** Each token is asked for twice, and the second time it is known. */
async function measure(): Promise<{ stored: number; remembered: number }> {
  const stored: number[] = [];
  const remembered: number[] = [];
  for (let row = 0; row < TOKENS; row += 1) stored.push(await check(row));
  for (let row = 0; row < TOKENS; row += 1) remembered.push(await check(row));
  return { stored: medianOf(stored), remembered: medianOf(remembered) };
}

for (let i = 0; i < HEAT; i += 1) await check(i % TOKENS);
// Any change makes it forget.
await store.addAuditEvent({ id: `au_${Date.now()}`, kind: 'grant.made', at: Date.now() } as Parameters<
  typeof store.addAuditEvent
>[0]);
process.stdout.write(`${JSON.stringify(await measure())}\n`);
