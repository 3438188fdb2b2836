/**
 * `fjmcp-broker …` as a process of its own: what it writes, how it ends, and whom it leaves behind. A process takes as long
 * to start as many tests do to run; what it would write and end with is found in this process just as well.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { runCommandLine } from '../../src/cli/command-line.js';

export const root = resolve(import.meta.dirname, '../../..');

const MAIN = resolve(root, 'dist/src/main.js');
const OUTPUT_MS = 30_000;

type Stream = 'stdout' | 'stderr';

export interface CommandEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Command {
  readonly pid: number;
  /** What it wrote so far. */
  readonly stdout: string;
  readonly stderr: string;
  readonly ended: Promise<CommandEnd>;
  readonly hasEnded: boolean;
  kill(signal: NodeJS.Signals): void;
  /** Resolves once the stream (default: stdout) matches; rejects when the process ends before it does. */
  written(pattern: RegExp, stream?: Stream): Promise<RegExpExecArray>;
}

export type Variables = Readonly<Record<string, string | undefined>>;

/** How a command ended that ran to its end. */
export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Takes away what the environment of the tests says to a broker. */
export const BARE: Variables = Object.fromEntries(
  Object.keys(process.env)
    .filter((name) => /^(BROKER|FORGEJO)_/.test(name))
    .map((name) => [name, undefined]),
);

/** Starts it with these variables beside our own; a variable that is undefined is not passed. */
export function startCommand(args: readonly string[], env: Variables = {}): Command {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const killer = () => child.kill('SIGKILL');
  process.once('exit', killer); // a test that dies takes its process along
  const text = { stdout: '', stderr: '' };
  const news = new EventEmitter();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
      news.emit('news');
    });
  }
  let hasEnded = false;
  const ended = once(child, 'close').then(([code, signal]): CommandEnd => {
    hasEnded = true;
    process.off('exit', killer);
    news.emit('news');
    return { code, signal };
  });
  assert.ok(child.pid);
  return {
    pid: child.pid,
    get stdout() {
      return text.stdout;
    },
    get stderr() {
      return text.stderr;
    },
    get hasEnded() {
      return hasEnded;
    },
    ended,
    kill: (signal) => child.kill(signal),
    async written(pattern, stream = 'stdout') {
      const signal = AbortSignal.timeout(OUTPUT_MS);
      for (;;) {
        const found = pattern.exec(text[stream]);
        if (found !== null) return found;
        if (hasEnded) throw new Error(`it ended without writing ${pattern}`);
        await once(news, 'news', { signal });
      }
    },
  };
}

/** Runs it to its end. */
export async function runCommand(args: readonly string[], env: Variables = {}): Promise<CommandResult> {
  const command = startCommand(args, env);
  const { code } = await command.ended;
  return { code, stdout: command.stdout, stderr: command.stderr };
}

/** The same in this process, for a command that ends by itself. */
export async function runCommandHere(args: readonly string[], env: Variables = {}): Promise<CommandResult> {
  const written = { stdout: '', stderr: '' };
  const writer = (stream: Stream) => (text: string) => {
    written[stream] += text;
  };
  const code = await runCommandLine(args, {
    env: { ...process.env, ...env },
    node: process.execPath,
    readFile: (path) => readFileSync(path, 'utf8'),
    print: writer('stdout'),
    complain: writer('stderr'),
    stopped: () => assert.fail('nobody is here to stop it'),
    now: Date.now,
    random: randomBytes,
  });
  return { code, ...written };
}
