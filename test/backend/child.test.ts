/** One process: it is always reaped, with its whole group, and what it did is data. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { Child, type ChildEnd, type ChildOptions } from '../../src/backend/child.js';
import { Guardian } from '../../src/backend/guardian.js';
import type { Rate } from '../../src/backend/pace.js';
import { createRedactor } from '../../src/backend/redact.js';
import { createRecordingLog } from '../../src/base/log.js';
import { Secret } from '../../src/base/secret.js';
import { FIXTURES } from '../fixtures/bridge.js';
import { isAlive, until } from '../fixtures/until.js';

const folder = mkdtempSync(join(tmpdir(), 'fjmcp-test-'));
const guardian = new Guardian(
  folder,
  createRecordingLog(() => undefined),
);
after(() => guardian[Symbol.asyncDispose]());

const UNBOUNDED: Rate = { bytes: 1e9, lines: 1e9, busyMs: 1e9 };

interface Started {
  readonly child: Child;
  readonly lines: string[];
  readonly stderr: string[];
  readonly ends: ChildEnd[];
}

function start(
  traits: string,
  options: Partial<ChildOptions> = {},
  env: Readonly<Record<string, string>> = {},
): Started {
  const [lines, stderr, ends]: [string[], string[], ChildEnd[]] = [[], [], []];
  const child = new Child({
    plan: {
      command: process.execPath,
      args: [join(FIXTURES, 'server.js')],
      env: { FIXTURE: traits, FORGEJO_ACCESS_TOKEN: 'secret-token', ...env },
      cwd: '/',
    },
    redact: createRedactor(new Secret('secret-token')),
    guardian,
    maxLineBytes: 1024 * 1024,
    grace: { eofMs: 200, termMs: 200 },
    onLine: (line) => {
      lines.push(line.toString());
      return { settled: true, drain: undefined };
    },
    onStderr: (line) => void stderr.push(line.toString()),
    onEnd: (end) => void ends.push(end),
    ...options,
  });
  return { child, lines, stderr, ends };
}

const request = (method: string, params: object = {}) =>
  Buffer.from(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })}\n`);

test('a child that heeds the end of its input ends at once, and says so', async () => {
  const { child, ends } = start('', { grace: { eofMs: 600_000, termMs: 0 } });
  assert.deepEqual(await child.stop('enough'), { how: 'closedByUs', why: 'enough' });
  assert.deepEqual(ends, [{ how: 'closedByUs', why: 'enough' }]);
  assert.equal(isAlive(child.pid), false);
  assert.equal(child.write(request('ping')), 'ended');
  assert.deepEqual(await child.stop('again'), { how: 'closedByUs', why: 'enough' });
});

test('a child that ignores the end of its input and SIGTERM is killed, and its grandchild with it', async () => {
  const { child, lines } = start('deaf');
  child.write(request('grandchild'));
  await until('the grandchild', () => lines.length > 0);
  const grandchild: number = JSON.parse(lines[0] ?? '').result.pid;
  assert.ok(isAlive(grandchild));
  await child.stop('enough');
  assert.equal(isAlive(child.pid), false);
  await until('the end of the grandchild', () => !isAlive(grandchild) || isZombie(grandchild));
});

test('a grandchild does not outlive a child that dies by itself', async () => {
  const { child, lines } = start('');
  child.write(request('grandchild'));
  await until('the grandchild', () => lines.length > 0);
  const grandchild: number = JSON.parse(lines[0] ?? '').result.pid;
  child.write(request('die'));
  assert.deepEqual(await child.ended, { how: 'exited', code: 3 });
  await until('the end of the grandchild', () => !isAlive(grandchild) || isZombie(grandchild));
});

test('what a child says last is still heard, and half a line is not', async () => {
  const { child, lines } = start('');
  child.write(request('answer-and-die'));
  await child.ended;
  assert.deepEqual(lines, ['{"jsonrpc":"2.0","id":1,"result":{"last":true}}']);
  const cut = start('');
  cut.child.write(request('die'));
  await cut.child.ended;
  assert.deepEqual(cut.lines, []);
});

test('a child whose words make their reader throw is stopped, and not heard any more', async () => {
  const faults: unknown[] = [];
  let heard = 0;
  const { child } = start('', {
    onLine: () => {
      heard += 1;
      throw new RangeError('too deep');
    },
    onFault: (error) => void faults.push(error),
  });
  for (let i = 0; i < 3; i += 1) child.write(request('ping'));
  assert.deepEqual(await child.ended, { how: 'closedByUs', why: 'a message of it could not be handled' });
  assert.deepEqual([heard, faults.map(String)], [1, ['RangeError: too deep']]);
});

test('the end of a child says how it came', async () => {
  assert.deepEqual(await start('exits').child.ended, { how: 'exited', code: 7 });
  const { child } = start('');
  process.kill(child.pid, 'SIGKILL');
  assert.deepEqual(await child.ended, { how: 'signalled', signal: 'SIGKILL' });
});

test('a child that cannot be started is an end like another', async () => {
  for (const command of ['/nowhere/server', 'nul\0byte']) {
    const { child, ends } = start('', { plan: { command, args: [], env: {}, cwd: '/' } });
    assert.equal(child.pid, 0);
    const end = await child.ended;
    assert.equal(end.how, 'neverStarted');
    assert.deepEqual(ends, [end]);
    assert.equal(child.write(request('ping')), 'ended');
    assert.deepEqual(await child.stop('late'), end);
  }
});

test('a child for which no file descriptor is left is such an end too, and nothing else is harmed', async () => {
  const script = `ulimit -n 64 && exec "$0" "$1"`;
  const args = ['-c', script, process.execPath, join(FIXTURES, 'starved.js')];
  const { stdout } = await promisify(execFile)('/bin/sh', args);
  assert.deepEqual(JSON.parse(stdout), { how: 'neverStarted', why: 'spawn /bin/true EMFILE' });
});

test('why a child cannot be started is told without a word of its environment', async () => {
  const env = { FORGEJO_ACCESS_TOKEN: 'secret-token', GREETING: 'I am secret-token\0' };
  const { child } = start('', { plan: { command: process.execPath, args: [], env, cwd: '/' } });
  assert.deepEqual(await child.ended, { how: 'neverStarted', why: 'ERR_INVALID_ARG_VALUE' });
});

test('a message over the limit ends the child with a reason', async () => {
  const { child, lines } = start('', { maxLineBytes: 1000 });
  child.write(request('overlong', { bytes: 2000 }));
  assert.deepEqual(await child.ended, {
    how: 'closedByUs',
    why: 'it sent a message of more than 1000 bytes',
  });
  assert.ok(lines.every((line) => line.length < 1000));
});

test('a child that does not read is not written to without end', async () => {
  const { child } = start('', {
    maxLineBytes: 100_000,
    plan: { command: '/bin/sleep', args: ['60'], env: {}, cwd: '/' },
  });
  const line = Buffer.alloc(100_000, 'x');
  let written = 0;
  while (child.write(line) === 'written') written += 1;
  assert.equal(child.write(line), 'clogged');
  assert.ok(written < 20, `${written}`);
  await child.stop('enough');
});

test('stderr comes line by line, the last one too, without the token', async () => {
  const text = `one\r\ntwo secret-token\n${'x'.repeat(70_000)}\nlast`;
  const { child, stderr } = start('exits', {}, { FIXTURE_STDERR: text });
  await child.ended;
  assert.deepEqual(stderr, ['one', 'two [redacted]', '[line too long]', 'last']);
});

test('a child is not read while its listener asks it to wait', async () => {
  let release: () => void = () => undefined;
  const wait = new Promise<void>((resolve) => {
    release = resolve;
  });
  const heard: string[] = [];
  const { child } = start('', {
    onLine: (line) => {
      heard.push(line.toString());
      return { settled: true, drain: heard.length > 1 ? undefined : wait };
    },
  });
  child.write(request('flood', { count: 5000, bytes: 1024 }));
  await until('the first line', () => heard.length > 0);
  const early = heard.length;
  assert.ok(early < 200, `${early}`);
  release();
  await until('the rest', () => heard.length === 5001);
  await child.stop('enough');
});

test('a flood on stderr is read no faster than the child may speak, and loses nothing of the answers', async () => {
  const floods: string[] = [];
  let heard = 0;
  const { child, lines } = start('', {
    plan: { command: process.execPath, args: [join(FIXTURES, 'hostile-server.js')], env: {}, cwd: '/' },
    rates: { stdout: UNBOUNDED, stderr: { ...UNBOUNDED, bytes: 100_000 } },
    onStderr: () => {
      heard += 1;
    },
    onFlood: (stream) => void floods.push(stream),
  });
  const began = performance.now();
  child.write(request('shout', { bytes: 250_000, line: 100 }));
  child.write(request('whoami'));
  await until('the end of the flood', () => heard === 2500);
  assert.ok(performance.now() - began > 1000, 'it had to rest');
  assert.deepEqual(floods, ['stderr'], 'told once');
  await until('the answers', () => lines.length === 2);
  await child.stop('enough');
});

test('many short lines are a flood as well as many bytes, on stdout too', async () => {
  const floods: string[] = [];
  const { child, lines } = start('', {
    rates: { stdout: { ...UNBOUNDED, lines: 1000 }, stderr: UNBOUNDED },
    onFlood: (stream) => void floods.push(stream),
  });
  child.write(request('flood', { count: 1000, bytes: 1 }));
  await until('all lines', () => lines.length === 1001);
  assert.deepEqual(floods, ['stdout']);
  await child.stop('enough');
});

test('what a child says unasked is paced by the time it takes; the answers it owes are not', async () => {
  for (const settled of [true, false]) {
    let now = 0;
    let heard = 0;
    let floodedAt: number | undefined;
    const floods: string[] = [];
    const { child } = start('', {
      rates: { stdout: { ...UNBOUNDED, busyMs: 500 }, stderr: UNBOUNDED },
      // Once it is known for a flood time runs fast, so that the rests of a child whose lines come one by one are soon over.
      elapsed: () => now + (floodedAt === undefined ? 0 : (Date.now() - floodedAt) * 100),
      onLine: () => {
        heard += 1;
        now += 10;
        return { settled, drain: undefined };
      },
      onFlood: (stream) => {
        floodedAt = Date.now();
        floods.push(stream);
      },
    });
    child.write(request('flood', { count: 100, bytes: 1 }));
    await until('all lines', () => heard === 101);
    await child.stop('enough');
    assert.deepEqual(floods, settled ? [] : ['stdout']);
  }
});

test('a child that is gone is heard to its last word, flood or not', async () => {
  const text = `${'x'.repeat(99)}\n`.repeat(600);
  const { child, stderr } = start(
    'exits',
    { rates: { stdout: UNBOUNDED, stderr: { ...UNBOUNDED, bytes: 1000, lines: 10 } } },
    { FIXTURE_STDERR: `${text}last` },
  );
  await child.ended;
  assert.equal(stderr.at(-1), 'last');
});

/** Where nobody reaps orphans (a container without init), a killed grandchild stays in the table as a zombie. */
function isZombie(pid: number): boolean {
  try {
    return /^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
