/** The scripts before a child's program: what they set, and that they pass all else on. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { LaunchPlan } from '../../src/backend/launch.js';
import { entered, limited, type ResourceLimits } from '../../src/backend/limits.js';

const folder = mkdtempSync(join(tmpdir(), 'fjmcp-limits-'));
after(() => rmSync(folder, { recursive: true }));

const NONE: ResourceLimits = {
  openFiles: 100,
  dataBytes: undefined,
  fileBytes: undefined,
  processes: undefined,
  isNice: false,
};
const plan = (...args: string[]): LaunchPlan => ({
  command: '/bin/sh',
  args: ['-c', ...args],
  env: { PATH: '/usr/bin:/bin' },
  cwd: '/',
});
const run = ({ command, args, env, cwd }: LaunchPlan) =>
  execFileSync(command, args, { env, cwd, encoding: 'utf8' });

test('each limit holds in the program, and cannot be raised again', () => {
  const limits = { ...NONE, dataBytes: 512 * 1024 * 1024, fileBytes: 1024 * 1024 };
  const say = plan('ulimit -n; ulimit -d; ulimit -f; ulimit -c; ulimit -Hn');
  assert.deepEqual(run(limited(say, limits)).split('\n').slice(0, 5), ['100', '524288', '2048', '0', '100']);
});

test('what is not limited stays as it is, and a lower limit that is there already stays too', () => {
  const say = plan('ulimit -d; ulimit -f');
  assert.equal(run(limited(say, NONE)), run(say));
  const outer = limited(limited(plan('ulimit -n'), { ...NONE, openFiles: 1000 }), NONE);
  assert.equal(run(outer).trim(), '100');
});

test('a nice child is behind the broker in the queue', () => {
  assert.equal(run(limited({ ...plan(), command: 'nice', args: [] }, { ...NONE, isNice: true })).trim(), '5');
});

test('arguments, environment and folder pass through as they are', () => {
  const words = ['', 'two words', '$HOME', "it's", '-n', '--'];
  const say = {
    ...plan('printf "[%s]" "$@" "$TOKEN" "$PWD"', 'name', ...words),
    env: { PATH: '/usr/bin:/bin', TOKEN: 't' },
  };
  const expected = [...words, 't', '/'].map((word) => `[${word}]`).join('');
  const file = join(folder, 'filter');
  writeFileSync(file, 'program');
  assert.equal(run(limited(say, NONE)), expected);
  assert.equal(run(entered(limited(say, NONE), { procs: '/dev/null', filter: file })), expected);
  assert.deepEqual(entered(say, {}), say, 'nothing to enter');
});

test('a child begins in its cgroup with its file open, or not at all', () => {
  const [procs, filter] = [join(folder, 'procs'), join(folder, 'program')];
  writeFileSync(procs, '');
  writeFileSync(filter, 'program');
  assert.equal(run(entered(plan('cat <&3; cat "$0"', procs), { procs, filter })), 'program0\n');
  for (const entry of [{ procs: join(folder, 'no/procs') }, { filter: join(folder, 'missing') }])
    assert.throws(() => run(entered(plan('echo begun'), entry)), /Command failed/);
});
