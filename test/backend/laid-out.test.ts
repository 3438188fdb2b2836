/** The files that sandboxes read: whole, or not there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { layOut } from '../../src/backend/containment.js';

const base = mkdtempSync(join(tmpdir(), 'fjmcp-test-'));
after(() => rmSync(base, { recursive: true, force: true }));

const MODULE = fileURLToPath(new URL('../../src/backend/containment.js', import.meta.url));
const LAY_OUT = `import(process.argv[1]).then(({ layOut }) => layOut(process.argv[2]))`;

test('a disk that was full once leaves no file that a later sandbox would take for whole', () => {
  const [folder, good] = ['full-', 'good-'].map((name) => mkdtempSync(join(base, name)));
  assert.ok(folder && good);
  // No file may grow: the system makes it, and refuses what is written to it, as it does on a full disk.
  const script = 'ulimit -f 0 && exec "$@"';
  const args = ['-c', script, 'sh', process.execPath, '-e', LAY_OUT, MODULE, folder];
  const { status, stderr } = spawnSync('/bin/sh', args, { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /EFBIG/);
  const textsIn = (files: ReturnType<typeof layOut>) =>
    [files.passwd, files.group, files.filter].map((path) => path && readFileSync(path, 'latin1'));
  const texts = textsIn(layOut(folder));
  assert.ok(!texts.includes(''));
  assert.deepEqual(texts, textsIn(layOut(good)));
});
