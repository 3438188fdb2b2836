/** What a sandboxed child sees of the machine: what its command needs, and nothing that is the broker's. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { resolveShown } from '../../src/backend/shown.js';

const base = mkdtempSync(join(tmpdir(), 'fjmcp-shown-'));
after(() => rmSync(base, { recursive: true }));

/** Makes a file, with its folders, and returns its path. */
function file(path: string): string {
  const full = join(base, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, '');
  return full;
}
const at = (path: string) => join(base, path);
const shown = (
  command: string,
  args: readonly string[] = [],
  hidden: readonly string[] = [],
  read: readonly string[] = [],
) => resolveShown(command, args, { read, hidden });
const rootsOf = (...parameters: Parameters<typeof shown>) => shown(...parameters).roots;

test('a command among the system folders needs nothing more', () => {
  assert.deepEqual(rootsOf('/bin/sh', ['--transport', 'stdio']), []);
});

test('a program is shown with its folder, a script with its whole package', () => {
  assert.deepEqual(rootsOf(file('notes/bin/server')), [at('notes/bin')]);
  file('app/package.json');
  assert.deepEqual(rootsOf('/bin/sh', [file('app/dist/src/main.js')]), [at('app')]);
  file('mono/package.json');
  file('mono/packages/one/package.json');
  assert.deepEqual(rootsOf('/bin/sh', [file('mono/packages/one/main.js')]), [at('mono')]);
  file('venv/pyvenv.cfg');
  assert.deepEqual(rootsOf(file('venv/bin/serve')), [at('venv')]);
});

test('a link is shown where it stands and where it leads, packages behind links too', () => {
  file('release/package.json');
  const script = file('release/bin/tool.js');
  mkdirSync(at('links'));
  symlinkSync(script, at('links/tool'));
  assert.deepEqual(rootsOf(at('links/tool')), [at('links'), at('release')]);
  file('shared/one/index.js');
  const linked = file('linked/main.js');
  symlinkSync(at('shared'), at('linked/node_modules'));
  assert.deepEqual(rootsOf('/bin/sh', [linked]), [at('linked'), at('shared')]);
});

test('paths are found in options; what a placeholder stands for, and what is not there, shows nothing', () => {
  const folder = dirname(file('docs/one.md'));
  assert.deepEqual(rootsOf('/bin/sh', [`--root=${folder}`]), [folder]);
  assert.deepEqual(rootsOf('/bin/sh', [folder]), [folder]);
  assert.deepEqual(rootsOf('/bin/sh', [`${base}/${'$'}{user.login}`, at('missing')]), []);
});

test('nobody is shown the root, a top-level folder or a whole home, but for the one file', () => {
  assert.deepEqual(rootsOf('/bin/sh', ['/', '/etc', '/var/lib', '/tmp']), []);
  assert.deepEqual(rootsOf('/bin/sh', ['/etc/passwd']), ['/etc/passwd']);
});

test('what the operator names is shown', () => {
  const folder = dirname(file('more/data'));
  assert.deepEqual(rootsOf('/bin/sh', [], [], [folder, at('missing')]), [folder]);
});

test('the folder of a hidden file is covered, and the file alone where the folder must be seen', () => {
  file('broker/package.json');
  const script = file('broker/server/main.js');
  const database = file('broker/data/broker.db');
  const key = file('broker/key');
  assert.deepEqual(shown('/bin/sh', [script], [database, key]), {
    roots: [at('broker')],
    maskedFolders: [at('broker/data')],
    maskedFiles: [key],
  });
  assert.deepEqual(shown('/bin/sh', [dirname(script)], [database, key]).maskedFolders, [], 'out of sight');
});

test('a hidden file is not shown for being named', () => {
  const key = file('key/file');
  assert.deepEqual(rootsOf('/bin/sh', [], [key], [key]), []);
});
