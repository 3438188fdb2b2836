/**
 * A child that tries to do harm: with the sandbox it comes to nothing and others go on; without, the same deeds succeed,
 * which is what makes their failure worth something. Root is bound by no limit on processes, so it is given up first.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Containment } from '../../src/backend/containment.js';
import { type Bridge, FIXTURES, startBridge, TOKEN, UNCONFINED } from '../fixtures/bridge.js';
import { type Client, connect } from '../fixtures/client.js';
import { until } from '../fixtures/until.js';
import { descendantsOf, survivorsOf } from '../support/processes.js';

const MEBIBYTE = 1024 * 1024;
const NOBODY = 65_534;
const program = readFileSync(join(FIXTURES, 'hostile-server.js'));
if (process.getuid?.() === 0 && [FIXTURES, process.execPath].every(isPublic)) {
  process.setgroups?.([]);
  process.setgid?.(NOBODY);
  process.setuid?.(NOBODY);
}
const skipOfRoot =
  process.getuid?.() === 0 && process.env.TEST_SANDBOX !== 'required'
    ? 'only root may look into this checkout, and has no limit on processes'
    : false;

/** The worst place for a server: in one package with the broker's database and key. */
const stage = mkdtempSync(join(tmpdir(), 'fjmcp-stage-'));
after(() => rmSync(stage, { recursive: true, force: true }));
const at = (...names: string[]) => join(stage, ...names);
mkdirSync(at('server'));
mkdirSync(at('data'));
writeFileSync(at('package.json'), '{"type":"module"}');
writeFileSync(at('server', 'hostile.js'), program);
writeFileSync(at('server', 'notes.txt'), 'public');
writeFileSync(at('data', 'broker.db'), 'secret database');
writeFileSync(at('data', 'before-upgrade.db'), 'secret backup');
writeFileSync(at('encryption.key'), 'secret key');
/** A process of another user of the machine, as far as a sandbox knows: not to be seen or touched. */
const stranger = spawn('/bin/sleep', ['600'], { env: { MARK: 'secret environment' }, stdio: 'ignore' });
after(() => stranger.kill('SIGKILL'));

const LIMITS = { memoryBytes: 256 * MEBIBYTE, processes: 40, openFiles: 256, diskBytes: 8 * MEBIBYTE };
const SHOW = { read: [], hidden: [at('data', 'broker.db'), at('encryption.key')] };

function startHostile(mode: 'auto' | 'none'): Promise<Bridge> {
  const entry = {
    name: 'main',
    command: process.execPath,
    args: [at('server', 'hostile.js')],
    env: {},
    protocol: 'legacy' as const,
  };
  const containment = { mode, show: SHOW, ...(mode === 'auto' ? { limits: LIMITS } : {}) };
  return startBridge({ servers: [entry], containment });
}

const { sandbox } = (await Containment.open({ ...UNCONFINED, mode: 'auto' })).surroundings;
const skip = sandbox.is === 'none' && process.env.TEST_SANDBOX !== 'required' ? sandbox.why : false;

const refusalOf = async (client: Client, method: string, params: object): Promise<string | undefined> =>
  (await client.call(method, params)).result.refused;

describe('without a sandbox', () => {
  test('the hostile server does all that it tries', { skip: process.platform !== 'linux' }, async () => {
    await using bridge = await startHostile('none');
    const [hostile, other] = [await connect(bridge.url), await connect(bridge.url, 'bob.1')];
    const { home } = (await other.call('whoami')).result;
    await other.call('write', { path: join(home, 'note') });
    for (const path of [at('data', 'broker.db'), at('encryption.key'), join(home, 'note')])
      assert.ok((await hostile.call('readFile', { path })).result.text);
    assert.ok((await hostile.call('environs')).result.texts.includes('MARK=secret environment\0'));
    assert.ok((await hostile.call('signal', { pid: stranger.pid, signal: 0 })).result.sent);
    assert.ok((await hostile.call('write', { path: at('data', 'harm') })).result.written);
    assert.equal((await hostile.call('forkBomb', { count: 60 })).result.started, 60);
    const filled = await hostile.call('fillDisk', { path: at('data', 'full'), bytes: 24 * MEBIBYTE });
    assert.equal(filled.result.written, 24 * MEBIBYTE);
    assert.ok((await hostile.call('fillMemory', { bytes: 900 * MEBIBYTE })).result);
  });
});

describe('in the sandbox, a hostile server', { skip }, () => {
  test('reads neither the database nor the key, nor what lies beside the database', async () => {
    await using bridge = await startHostile('auto');
    const hostile = await connect(bridge.url);
    assert.deepEqual((await hostile.call('list', { path: at('data') })).result.names, []);
    for (const path of [at('data', 'broker.db'), at('data', 'before-upgrade.db')])
      assert.equal(await refusalOf(hostile, 'readFile', { path }), 'ENOENT');
    assert.equal(await refusalOf(hostile, 'readFile', { path: at('encryption.key') }), 'EACCES');
    assert.equal((await hostile.call('readFile', { path: at('server', 'notes.txt') })).result.text, 'public');
    for (const path of ['/etc/shadow', '/etc/ssl/private', '/root', '/run', '/var/lib', '/sys'])
      assert.equal(await refusalOf(hostile, 'list', { path }), 'ENOENT');
    const { text } = (await hostile.call('readFile', { path: '/etc/passwd' })).result;
    assert.deepEqual(text.match(/^\w+/gm), ['mcp', 'nobody']);
  });

  test('sees no process but its own, and no environment but its own', async () => {
    await using bridge = await startHostile('auto');
    const [hostile, other] = [await connect(bridge.url), await connect(bridge.url, 'bob.1')];
    await other.call('whoami');
    assert.ok((await hostile.call('processes')).result.count <= 2, 'the first process and itself');
    const { texts } = (await hostile.call('environs')).result;
    assert.ok(!JSON.stringify(texts).includes('MARK='));
    assert.equal(await refusalOf(hostile, 'signal', { pid: stranger.pid, signal: 0 }), 'ESRCH');
    assert.equal(await refusalOf(hostile, 'signal', { pid: process.pid, signal: 0 }), 'ESRCH');
    const { open } = (await hostile.call('descriptors')).result;
    // Beside those that Node.js makes for itself: stdin, stdout and stderr.
    assert.equal(open.filter((file: unknown) => String(file).startsWith('socket:')).length, 3);
    assert.ok(!open.some((file: unknown) => /^\/(?!dev\/null$)/.test(String(file))), open.join(' '));
  });

  test('writes nowhere but into its own home and temporary folder, which no other child sees', async () => {
    await using bridge = await startHostile('auto');
    const [hostile, other] = [await connect(bridge.url), await connect(bridge.url, 'bob.1')];
    for (const path of [
      '/harm',
      '/dev/harm',
      '/usr/harm',
      '/etc/passwd',
      '/proc/sys/kernel/hostname',
      '/home/harm',
    ])
      assert.match((await refusalOf(hostile, 'write', { path })) ?? 'written', /EROFS|EACCES|EPERM/, path);
    assert.equal(await refusalOf(hostile, 'write', { path: at('server', 'hostile.js') }), 'EROFS');
    const { home } = (await hostile.call('whoami')).result;
    for (const folder of [home, '/tmp', '/dev/shm']) {
      assert.ok((await hostile.call('write', { path: join(folder, 'mine') })).result.written);
      const { names } = (await other.call('list', { path: folder })).result;
      assert.ok(!names.includes('mine'));
    }
  });

  test('gains no rights: no capability, no namespace, no mount, and a filter on system calls', async () => {
    await using bridge = await startHostile('auto');
    const hostile = await connect(bridge.url);
    const status = (await hostile.call('readFile', { path: '/proc/self/status' })).result.text;
    for (const line of [/^CapEff:\t0+$/m, /^CapBnd:\t0+$/m, /^NoNewPrivs:\t1$/m, /^Seccomp:\t2$/m])
      assert.match(status, line);
    for (const [command, ...args] of [
      ['unshare', '--user', 'true'],
      ['unshare', '--mount', 'true'],
      ['nsenter', '--target', '1', '--mount', 'true'],
      ['mount', '-t', 'tmpfs', 'none', '/tmp'],
    ])
      assert.notEqual((await hostile.call('run', { command, args })).result.status, 0, `${command} ${args}`);
  });

  test('keeps its token out of every command line', async () => {
    await using bridge = await startHostile('auto');
    const hostile = await connect(bridge.url);
    assert.equal((await hostile.call('whoami')).result.token, '[redacted]', 'it has one');
    const family = descendantsOf(process.pid).map(({ pid }) => readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
    assert.ok(family.some((line) => line.includes('hostile.js')));
    assert.ok(!family.some((line) => line.includes(TOKEN)));
  });

  test('has the environment of its plan, and nothing more', async () => {
    await using bridge = await startHostile('auto');
    const hostile = await connect(bridge.url);
    const { text } = (await hostile.call('readFile', { path: '/proc/self/environ' })).result;
    const names = text.match(/(?<=^|\0)\w+(?==)/g);
    assert.deepEqual(names.sort(), ['FORGEJO_ACCESS_TOKEN', 'FORGEJO_URL', 'HOME', 'LANG', 'PATH']);
  });

  test('still has the network', async () => {
    await using bridge = await startHostile('auto');
    const hostile = await connect(bridge.url);
    const { port } = new URL(bridge.url);
    assert.deepEqual((await hostile.call('connect', { port })).result, { connected: true });
  });

  test('starts no more processes than it may, and others go on', { skip: skipOfRoot }, async () => {
    await using bridge = await startHostile('auto');
    const [hostile, other] = [await connect(bridge.url), await connect(bridge.url, 'bob.1')];
    const bomb = hostile.call('forkBomb', { count: 60 });
    assert.equal((await other.call('forkBomb', { count: 5 })).result.started, 5);
    const { started } = (await bomb).result;
    assert.ok(started > 0 && started < LIMITS.processes, `${started}`);
  });

  test('that uses up its memory is ended, its call gets an error, and others go on', async () => {
    await using bridge = await startHostile('auto');
    const [hostile, other] = [await connect(bridge.url), await connect(bridge.url, 'bob.1')];
    const { error } = await hostile.call('fillMemory', { bytes: 900 * MEBIBYTE });
    assert.equal(error?.code, -32603);
    assert.equal(error?.data?.reason, 'child-ended');
    assert.ok((await other.call('whoami')).result.pid);
    assert.ok((await hostile.call('whoami')).result.pid, 'its session has a new child');
  });

  test('cannot fill the disk: its folders are small, and of its own memory', async () => {
    await using bridge = await startHostile('auto');
    const hostile = await connect(bridge.url);
    const { home } = (await hostile.call('whoami')).result;
    for (const path of [join(home, 'full'), '/tmp/full', '/dev/shm/full']) {
      const { result } = await hostile.call('fillDisk', { path, bytes: 24 * MEBIBYTE });
      assert.equal(result.refused, 'ENOSPC');
      assert.ok(result.written <= LIMITS.diskBytes);
    }
  });

  test('takes its grandchildren along, those in sessions of their own too', async () => {
    await using bridge = await startHostile('auto');
    const hostile = await connect(bridge.url);
    const mark = `${process.pid}.5`;
    await hostile.call('escape', { mark });
    assert.equal(processesSaying(mark), 1);
    await fetch(bridge.url, { method: 'DELETE', headers: hostile.headers });
    await until('its end', () => processesSaying(mark) === 0);
  });

  test('does not outlive a broker that is killed', async () => {
    const broker = spawn(process.execPath, [join(FIXTURES, 'broker.js')], {
      env: { ...process.env, SANDBOX: 'bubblewrap' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => broker.stdout.once('data', resolve));
    const family = descendantsOf(broker.pid ?? 0);
    assert.ok(family.some(({ command }) => command === 'bwrap'));
    broker.kill('SIGKILL');
    assert.deepEqual(await survivorsOf(family, 5000), []);
  });
});

/** Whether everybody may go there. */
function isPublic(path: string): boolean {
  return (statSync(path).mode & 0o001) !== 0 && (dirname(path) === path || isPublic(dirname(path)));
}

function processesSaying(word: string): number {
  const lines = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return ''; // ended between the listing and the reading
      }
    });
  return lines.filter((line) => line.includes(`\0${word}\0`)).length;
}
