/**
 * The broker as an operator would try it: `fjmcp-broker demo` as a process of its own, with its stand-in Forgejo.
 * Leaving the block sends SIGINT and insists on an end within two seconds that leaves no process behind.
 */
import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import type { Person } from './browser.js';
import { descendantsOf, survivorsOf } from './processes.js';

export const root = resolve(import.meta.dirname, '../../..');

const START_MS = 30_000;
const STOP_MS = 2_000;

const Announcement = z.object({
  mcpUrl: z.string(),
  forgejoUrl: z.string(),
  users: z.array(z.object({ login: z.string(), password: z.string() })),
});

export interface Demo extends AsyncDisposable {
  readonly mcpUrl: string;
  readonly forgejoUrl: string;
  readonly pid: number;
  user(login: string): Person;
  /** What it wrote to stderr so far. */
  log(): string;
}

export interface DemoOptions {
  /** Command line of the stdio server; default: the demo's own. */
  readonly server?: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

type DemoProcess = ChildProcessByStdio<null, Readable, Readable>;

export async function startDemo({ server, args = [], env = {} }: DemoOptions = {}): Promise<Demo> {
  const main = resolve(root, 'dist/src/main.js');
  const options = ['--json', '--port', '0', '--forgejo-port', '0', ...(server ? ['--server', server] : [])];
  const child = spawn(process.execPath, [main, 'demo', ...options, ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const killer = () => child.kill('SIGKILL');
  process.once('exit', killer); // a test that dies takes its demo along
  child.once('exit', () => process.off('exit', killer));
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  try {
    const { mcpUrl, forgejoUrl, users } = Announcement.parse(JSON.parse(await firstLine(child)));
    const { pid } = child;
    assert.ok(pid);
    return {
      mcpUrl,
      forgejoUrl,
      pid,
      user: (login) => {
        const found = users.find((user) => user.login === login);
        assert.ok(found, `the demo has no user ${login}`);
        return found;
      },
      log: () => log,
      [Symbol.asyncDispose]: () => stop(child, pid, () => log),
    };
  } catch (error) {
    child.kill('SIGKILL');
    throw new Error(`the demo did not start; it wrote:\n${log}`, { cause: error });
  }
}

async function firstLine(child: DemoProcess): Promise<string> {
  const lines = createInterface({ input: child.stdout });
  const ended = once(child, 'close').then(([code]) => Promise.reject(new Error(`it ended with ${code}`)));
  const [line] = (await Promise.race([
    once(lines, 'line', { signal: AbortSignal.timeout(START_MS) }),
    ended,
  ])) as [string];
  ended.catch(() => {}); // from here on its end is `stop`'s business
  return line;
}

async function stop(child: DemoProcess, pid: number, log: () => string): Promise<void> {
  assert.equal(child.exitCode ?? child.signalCode, null, `the demo ended by itself; it wrote:\n${log()}`);
  const family = descendantsOf(pid);
  const started = performance.now();
  const closed = once(child, 'exit');
  child.kill('SIGINT');
  const killer = setTimeout(() => child.kill('SIGKILL'), 5 * STOP_MS);
  await closed;
  clearTimeout(killer);
  const took = Math.round(performance.now() - started);
  const left = await survivorsOf(family, 500);
  for (const { pid: orphan } of left) process.kill(orphan, 'SIGKILL');
  assert.ok(took < STOP_MS, `the demo took ${took} ms to stop; it wrote:\n${log()}`);
  assert.deepEqual(left, [], `the demo left processes behind; it wrote:\n${log()}`);
  assert.equal(child.signalCode, null);
}

/** Words to one command line, quoted as a shell would need it. */
export function commandLine(...words: readonly string[]): string {
  return words
    .map((word) => (/^[\w./:@=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ');
}
