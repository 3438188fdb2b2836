/** The sandbox for whoever runs the tests, root too: files that belong to root are not the child's all the same. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Containment } from '../../src/backend/containment.js';
import { UNCONFINED } from '../fixtures/bridge.js';

const containment = await Containment.open({ ...UNCONFINED, mode: 'auto' });
const { sandbox } = containment.surroundings;
const skip = sandbox.is === 'none' && process.env.TEST_SANDBOX !== 'required' ? sandbox.why : false;
const folder = mkdtempSync(join(tmpdir(), 'fjmcp-sandbox-'));
after(() => rmSync(folder, { recursive: true }));

/** Runs a script in a place of its own; what it printed. */
function run(script: string): string {
  const place = containment.place(folder);
  const env = { PATH: process.env.PATH ?? '', HOME: place.home };
  const entry = { name: 'main', command: '/bin/sh', args: [], env: {} };
  const plan = { command: '/bin/sh', args: ['-c', script], env, cwd: place.home };
  const { command, args, cwd } = place.confine(plan, entry);
  const { stdout } = spawnSync(command, args, { cwd, env, encoding: 'utf8' });
  return stdout;
}

test('no setting of the kernel can be written', { skip }, () => {
  // The name of the host is one of the sandbox's own, so that a test that fails does no harm.
  assert.equal(run('echo harm > /proc/sys/kernel/hostname || echo refused'), 'refused\n');
  assert.equal(run('find /proc -maxdepth 1 -type f -perm -u=w -writable'), '');
  assert.equal(run('find /proc/sys -type f -writable | head -n 3'), '');
});

test('a child works in its home, under a name of its own', { skip }, () => {
  assert.equal(run('pwd; id -un; touch here && ls'), '/home/mcp\nmcp\nhere\n');
});
