/** A cgroup for each child: where we stand, what is ours, which limits are written, and how a child's ends. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { Cgroups, checkDelegated, divide, ownCgroup } from '../../src/backend/cgroup.js';
import { entered } from '../../src/backend/limits.js';

const LIMITS = { memoryBytes: 1000, processes: 20, openFiles: 30, diskBytes: 40 };
const base = mkdtempSync(join(tmpdir(), 'fjmcp-cgroup-'));
after(() => rmSync(base, { recursive: true, force: true }));

/** What systemd leaves to a service with `Delegate=`. */
function layOut(name: string, files: Readonly<Record<string, string>> = {}): string {
  const folder = join(base, name);
  mkdirSync(folder);
  const usual = {
    'cgroup.controllers': 'cpuset cpu memory pids\n',
    'cgroup.procs': '17\n',
    'cgroup.subtree_control': '',
  };
  for (const [file, text] of Object.entries({ ...usual, ...files })) writeFileSync(join(folder, file), text);
  return folder;
}
const text = (...path: string[]) => readFileSync(join(...path), 'utf8');

test('the own cgroup is found below the mount point of version 2', () => {
  const v2 = '30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n';
  assert.equal(ownCgroup('0::/system.slice/a.service\n', v2), '/sys/fs/cgroup/system.slice/a.service');
  const hybrid = `29 23 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n${v2.replace('/sys/fs/cgroup', '/u')}`;
  assert.equal(ownCgroup('4:pids:/x\n0::/a\n', hybrid), '/u/a');
  const inside = v2.replace(' / ', ' /docker/1 ');
  assert.equal(ownCgroup('0::/docker/1/a\n', inside), '/sys/fs/cgroup/a');
  assert.equal(ownCgroup('4:pids:/x\n', v2), undefined, 'version 1 alone');
});

test('only a cgroup that a service has to itself, with a controller of use, counts as delegated', () => {
  const good = layOut('good.service');
  assert.deepEqual(checkDelegated(good), { folder: good, controllers: ['memory', 'pids', 'cpu'] });
  const partly = layOut('partly.service', { 'cgroup.controllers': 'pids\n' });
  assert.deepEqual(checkDelegated(partly), { folder: partly, controllers: ['pids'] });
  for (const [folder, why] of [
    [layOut('session.scope'), /as a systemd service/],
    [layOut('shared.service', { 'cgroup.procs': '17\n18\n' }), /other processes/],
    [layOut('bare.service', { 'cgroup.controllers': 'cpuset\n' }), /no controller/],
    [join(base, 'missing.service'), /Delegate=/],
  ] as const) {
    const found = checkDelegated(folder);
    assert.ok('notDelegated' in found);
    assert.match(found.notDelegated, why);
  }
});

test('the broker goes to a leaf first, and a child gets its limits before it begins', () => {
  const folder = layOut('divided.service');
  const delegated = checkDelegated(folder);
  assert.ok('controllers' in delegated);
  const cgroups = divide(delegated);
  assert.ok('create' in cgroups);
  assert.equal(text(folder, 'broker', 'cgroup.procs'), '0');
  assert.equal(text(folder, 'cgroup.subtree_control'), '+memory +pids +cpu');
  const child = dirname(cgroups.create(LIMITS).procs);
  assert.equal(dirname(child), folder);
  assert.equal(text(child, 'memory.max'), '1000');
  assert.equal(text(child, 'memory.oom.group'), '1');
  assert.equal(text(child, 'pids.max'), '20');
  assert.ok(Number(text(child, 'cpu.weight')) < Number(text(folder, 'broker', 'cpu.weight')));
});

test('what the kernel killed for memory is told', () => {
  const cgroup = new Cgroups(layOut('killed.service'), []).create(LIMITS);
  assert.equal(cgroup.memoryKills, 0);
  writeFileSync(join(dirname(cgroup.procs), 'memory.events'), 'low 0\noom 2\noom_kill 3\noom_group_kill 1\n');
  assert.equal(cgroup.memoryKills, 3);
});

/** Where we may make a cgroup; controllers are not needed for this. */
const real = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find(
  (path) => existsSync(join(path, 'cgroup.procs')) && process.getuid?.() === 0,
);

test('a cgroup that cannot be given its limits is not left behind', {
  skip: real === undefined && 'this takes root and a cgroup v2',
}, () => {
  const folder = mkdtempSync(join(real ?? '', 'fjmcp-test-'));
  // The controller is not switched on here, so that its files are missing.
  assert.throws(() => new Cgroups(folder, ['memory']).create(LIMITS));
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('child-')),
    [],
  );
  rmdirSync(folder);
});

test('the end of a cgroup takes all processes that ever began in it, and leaves no folder', {
  skip: real === undefined && 'this takes root and a cgroup v2',
}, async () => {
  const folder = mkdtempSync(join(real ?? '', 'fjmcp-test-'));
  const cgroup = new Cgroups(folder, []).create(LIMITS);
  // It leaves its parent's group and session behind, and says so once it has.
  const script = 'setsid sh -c "echo ready; exec sleep 600" & wait';
  const plan = { command: '/bin/sh', args: ['-c', script], env: {}, cwd: '/' };
  const { command, args } = entered(plan, { procs: cgroup.procs });
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  assert.ok(text(cgroup.procs).trim().split('\n').length >= 2);
  const ended = once(child, 'exit');
  await cgroup.end();
  assert.deepEqual(await ended, [null, 'SIGKILL']);
  assert.ok(!existsSync(cgroup.procs));
  rmdirSync(folder);
});

test('what a former life left in its cgroups is ended at the start, empty ones are removed, others stay', {
  skip: real === undefined && 'this takes root and a cgroup v2',
}, async () => {
  const folder = mkdtempSync(join(real ?? '', 'fjmcp-test-'));
  const former = new Cgroups(folder, []);
  const [full, empty, own] = [former.create(LIMITS), former.create(LIMITS), join(folder, 'broker')];
  mkdirSync(own);
  const plan = { command: '/bin/sh', args: ['-c', 'echo ready; exec sleep 600'], env: {}, cwd: '/' };
  const { command, args } = entered(plan, { procs: full.procs });
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const ended = once(child, 'exit');
  assert.deepEqual(await new Cgroups(folder, []).endFormer(), [child.pid]);
  assert.deepEqual(await ended, [null, 'SIGKILL']);
  assert.deepEqual([full.procs, empty.procs, own].map(existsSync), [false, false, true]);
  rmdirSync(own);
  rmdirSync(folder);
});
