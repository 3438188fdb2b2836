/** Programs of the benchmark: installed peers, the compiled child, and processes that are ended with the run. */
import assert from 'node:assert/strict';
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from '../support/command.js';
import type { LoadJob, LoadResult } from './load.js';

const folder = join(root, 'test/bench');
export const modules = join(folder, 'node_modules');
const made = join(modules, '.bench');
const INSTALL_MS = 120_000;
const START_MS = 20_000;
const STOP_MS = 5000;

/** From this folder's lock file; once is enough while that stays the same. Scripts of packages are not run. */
export function installPeers(): void {
  const lock = join(folder, 'package-lock.json');
  const stamp = join(made, 'installed-from.json');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === readFileSync(lock, 'utf8')) return;
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const { status, stderr } = spawnSync('npm', args, { cwd: folder, timeout: INSTALL_MS, encoding: 'utf8' });
  assert.equal(status, 0, `the peers could not be installed:\n${stderr}`);
  mkdirSync(made, { recursive: true });
  cpSync(lock, stamp);
}

export interface EchoChild {
  readonly kind: 'C' | 'Node.js';
  readonly words: readonly string[];
}

/** The fastest child there is here: its own work must not hide the bridge's. */
export function makeChild(): EchoChild {
  mkdirSync(made, { recursive: true });
  const program = join(made, 'child');
  const args = ['-O2', '-o', program, join(folder, 'child.c')];
  const { status } = spawnSync('cc', args, { timeout: START_MS });
  if (status === 0) return { kind: 'C', words: [program] };
  return { kind: 'Node.js', words: [process.execPath, join(import.meta.dirname, 'child.js')] };
}

export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** What it wrote to stdout and to stderr so far. */
  readonly output: { stdout: string; stderr: string };
}

export function startProgram(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Program {
  const child = spawn(command, args, {
    cwd: root,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  return { pid: child.pid ?? 0, output, [Symbol.asyncDispose]: () => end(child) };
}

/** One of this folder's servers, which print their port. */
export async function startServer(
  file: string,
  args: readonly string[],
): Promise<Program & { port: number }> {
  const program = startProgram(process.execPath, [join(import.meta.dirname, file), ...args]);
  await until(() => program.output.stdout.includes('\n'), file);
  return Object.assign(program, { port: Number(program.output.stdout) });
}

export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + START_MS;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`${what} did not come up`);
    await sleep(20);
  }
}

export function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(port, '127.0.0.1');
    probe.once('connect', () => resolve(true)).once('error', () => resolve(false));
    probe.once('connect', () => probe.destroy());
  });
}

/** Processor time of that process so far, where there is a /proc (proc(5): fields 14 and 15, in ticks of 10 ms). */
export function processorMs(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return undefined;
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(killer);
}

/** The process that asks. */
export interface Loader extends AsyncDisposable {
  run(job: LoadJob): Promise<LoadResult>;
}

/** The time that the benchmark may take is over. */
export class OutOfTime extends Error {}

export function startLoader(untilMs: number): Loader {
  const child = fork(join(import.meta.dirname, 'load.js'), { serialization: 'advanced' });
  return {
    async run(job) {
      if (Date.now() > untilMs) throw new OutOfTime();
      child.send(job);
      const [result] = (await once(child, 'message')) as [LoadResult];
      if (result.errors > 0) throw new Error(`${result.errors} requests failed: ${result.firstError}`);
      return result;
    },
    [Symbol.asyncDispose]: () => end(child),
  };
}
