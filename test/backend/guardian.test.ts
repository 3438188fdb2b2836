/** No child survives the broker. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Guardian } from '../../src/backend/guardian.js';
import { createRecordingLog } from '../../src/base/log.js';
import { FIXTURES } from '../fixtures/bridge.js';
import { isAlive, until } from '../fixtures/until.js';

/** Gone, or dead and waiting for a parent that never asks (a container without an init). */
function isGone(pid: number): boolean {
  if (!isAlive(pid)) return true;
  try {
    return /^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

const log = createRecordingLog(() => undefined);
const newFolder = () => mkdtempSync(join(tmpdir(), 'fjmcp-test-'));

/** A process group that stays. */
function startGroup(): ChildProcess & { readonly pid: number } {
  const child = spawn('/bin/sleep', ['600'], { detached: true, stdio: 'ignore' });
  assert.ok(child.pid !== undefined);
  return Object.assign(child, { pid: child.pid });
}

/** The shells of this process that guard `folder`. */
function guardiansOf(folder: string): number[] {
  const table = execFileSync('ps', ['-A', '-o', 'pid=,args='], { encoding: 'utf8' });
  const lines = table.split('\n').filter((line) => line.includes(`fjmcp-guardian ${folder}`));
  return lines.map((line) => Number.parseInt(line, 10));
}

test('kill -9 of the broker ends children that ignore everything, their children, and their folders', async () => {
  const broker = spawn(process.execPath, [join(FIXTURES, 'broker.js')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(broker.stdout, 'data')) as [Buffer];
  const { child, grandchild, home } = JSON.parse(line.toString());
  assert.ok(isAlive(child) && isAlive(grandchild) && existsSync(home));
  broker.kill('SIGKILL');
  await until('the end of the child', () => isGone(child));
  await until('the end of the grandchild', () => isGone(grandchild));
  await until('the end of the folder', () => !existsSync(home));
});

test('at its end it kills the groups on its list, and no others', async () => {
  const guardian = new Guardian(newFolder(), log);
  const [listed, released, stranger] = [startGroup(), startGroup(), startGroup()];
  guardian.watch(listed.pid);
  guardian.watch(released.pid);
  guardian.release(released.pid);
  const ended = once(listed, 'exit');
  await guardian[Symbol.asyncDispose]();
  assert.deepEqual(await ended, [null, 'SIGKILL']);
  for (const group of [released, stranger]) {
    assert.ok(isAlive(group.pid));
    group.kill('SIGKILL');
  }
});

test('told of another folder, it removes that one at its end, and the first no more', async () => {
  const [first, second] = [newFolder(), newFolder()];
  const guardian = new Guardian(first, log);
  guardian.guard(second);
  await guardian[Symbol.asyncDispose]();
  assert.deepEqual([first, second].map(existsSync), [true, false]);
  rmdirSync(first);
});

test('it ignores the signals that end the broker', async () => {
  const folder = newFolder();
  const guardian = new Guardian(folder, log);
  await until('the shell', () => guardiansOf(folder).length === 1);
  const [pid = 0] = guardiansOf(folder);
  const group = startGroup();
  guardian.watch(group.pid);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(pid, signal);
  const ended = once(group, 'exit');
  await guardian[Symbol.asyncDispose]();
  assert.deepEqual(await ended, [null, 'SIGKILL']);
});

test('if it dies it is started again, and knows the groups', async () => {
  const folder = newFolder();
  const guardian = new Guardian(folder, log);
  const group = startGroup();
  guardian.watch(group.pid);
  await until('the shell', () => guardiansOf(folder).length === 1);
  const [first = 0] = guardiansOf(folder);
  process.kill(first, 'SIGKILL');
  await until('another', () => guardiansOf(folder).some((pid) => pid !== first && !isGone(pid)));
  assert.ok(isAlive(group.pid));
  const ended = once(group, 'exit');
  await guardian[Symbol.asyncDispose]();
  assert.deepEqual(await ended, [null, 'SIGKILL']);
});
