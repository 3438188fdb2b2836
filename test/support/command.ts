/** `fjmcp-broker …` as a process of its own: what it writes, how it ends, and whom it leaves behind. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { resolve } from 'node:path';

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
export async function runCommand(args: readonly string[], env: Variables = {}) {
  const command = startCommand(args, env);
  const { code } = await command.ended;
  return { code, stdout: command.stdout, stderr: command.stderr };
}
