/**
 * One process of a stdio MCP server: started without a shell in its own process group, framed, and always reaped with
 * its whole group. Lines leave it without the upstream token. Refuses nothing it reads; what a line means is not asked here.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { LineSplitter } from '../mcp/framing.js';
import { blankBreaks } from '../mcp/message.js';
import type { Drain, Heard } from './calls.js';
import type { Guardian } from './guardian.js';
import type { LaunchPlan } from './launch.js';
import { Pace, type Rate } from './pace.js';
import type { Redactor } from './redact.js';

/** How a child came to its end. Ours is said before the process's own, for the first cause is the true one. */
export type ChildEnd =
  | { readonly how: 'neverStarted'; readonly why: string }
  | { readonly how: 'exited'; readonly code: number }
  | { readonly how: 'signalled'; readonly signal: string }
  | { readonly how: 'closedByUs'; readonly why: string };

export interface ChildOptions {
  readonly plan: LaunchPlan;
  readonly redact: Redactor;
  readonly guardian: Guardian;
  readonly maxLineBytes: number;
  readonly grace: StopGrace;
  /** Each whole line of stdout, without the token and without line breaks; no more are read while it says to wait. */
  readonly onLine: (line: Buffer) => Heard;
  /** Each whole line of stderr, without the token. */
  readonly onStderr: (line: Buffer) => void;
  /** What it may say; see `STDOUT_RATE` and `STDERR_RATE`. */
  readonly rates?: { readonly stdout: Rate; readonly stderr: Rate };
  /** What its words take is measured by it: `performance.now`, or a test's. */
  readonly elapsed?: () => number;
  /** Once, when it says more. */
  readonly onFlood?: (stream: 'stdout' | 'stderr') => void;
  /** Once, when what it said made its reader throw; it is stopped, and not heard any more. */
  readonly onFault?: (error: unknown) => void;
  readonly onEnd: (end: ChildEnd) => void;
}

/** How long a child may take after its stdin ends, and then after SIGTERM. */
export interface StopGrace {
  readonly eofMs: number;
  readonly termMs: number;
}

/** Together under 2 s, so that Ctrl-C and a restart are quick; nothing is in flight when a child is stopped. */
export const STOP_GRACE: StopGrace = { eofMs: 500, termMs: 500 };
const MAX_STDERR_LINE_BYTES = 64 * 1024;
/** Lines that may wait for a child that does not read; beyond it, writing is refused. */
const MAX_UNREAD_LINES = 4;
/**
 * Far above what a server says that works. The time is for what settles no call: a client that gets its answers has asked
 * for them, so they may take what they take, but nobody asked for a flood.
 */
const STDOUT_RATE: Rate = { bytes: 512 * 1024 * 1024, lines: 200_000, busyMs: 100 };
const STDERR_RATE: Rate = { bytes: 1024 * 1024, lines: 5000, busyMs: 50 };
/** A descendant that left the group may hold the pipes open for ever; the child has ended all the same. */
const PIPES_GRACE_MS = 500;

export class Child implements AsyncDisposable {
  /** 0 when the process could not be started. */
  readonly pid: number;
  readonly ended: Promise<ChildEnd>;
  readonly #options: ChildOptions;
  readonly #maxUnreadBytes: number;
  #process: ChildProcessWithoutNullStreams | undefined;
  #stopping: string | undefined;
  readonly #elapsed: () => number;
  readonly #paces: Record<'stdout' | 'stderr', Pace>;
  readonly #waitingFor = { stdout: 0, stderr: 0 };
  readonly #flooded = new Set<string>();
  #isFaulty: boolean = false;
  #timer: NodeJS.Timeout | undefined;
  #settle: (end: ChildEnd) => void = () => undefined;

  constructor(options: ChildOptions) {
    this.#options = options;
    this.#maxUnreadBytes = options.maxLineBytes * MAX_UNREAD_LINES;
    const { stdout, stderr } = options.rates ?? { stdout: STDOUT_RATE, stderr: STDERR_RATE };
    this.#elapsed = options.elapsed ?? (() => performance.now());
    this.#paces = { stdout: new Pace(stdout, this.#elapsed), stderr: new Pace(stderr, this.#elapsed) };
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#process = this.#start();
    this.pid = this.#process?.pid ?? 0;
    if (this.pid > 0) options.guardian.watch(this.pid);
  }

  get stopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** `line` ends with its line break. A dead pipe is not waited for, and a full one is not filled further. */
  write(line: Buffer): 'written' | 'clogged' | 'ended' {
    const stdin = this.#process?.stdin;
    if (stdin === undefined || !stdin.writable) return 'ended';
    if (stdin.writableLength > this.#maxUnreadBytes) return 'clogged';
    // Lines that arrive in one turn of the event loop leave in one system call.
    if (stdin.writableCorked === 0) {
      stdin.cork();
      setImmediate(() => stdin.uncork());
    }
    stdin.write(line);
    return 'written';
  }

  /** Ends stdin, then SIGTERM, then SIGKILL to the group, each after its grace. Idempotent; the first reason stays. */
  stop(why: string): Promise<ChildEnd> {
    if (this.#process !== undefined && this.#stopping === undefined) {
      this.#stopping = why;
      const { eofMs, termMs } = this.#options.grace;
      this.#process.stdin.end();
      // A child that cannot write may never come to see that its input ended.
      this.#process.stdout.resume();
      this.#process.stderr.resume();
      this.#timer = setTimeout(() => {
        this.#signal('SIGTERM');
        this.#timer = setTimeout(() => this.#signal('SIGKILL'), termMs);
      }, eofMs);
    }
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('disposed');
  }

  #start(): ChildProcessWithoutNullStreams | undefined {
    const { plan, redact, maxLineBytes, onLine, onStderr, onFlood } = this.#options;
    let child: ChildProcess;
    try {
      child = spawn(plan.command, plan.args, { cwd: plan.cwd, env: plan.env, detached: true, stdio: 'pipe' });
    } catch (error) {
      // Not its message: of a NUL character in the environment Node says in which value it stands.
      queueMicrotask(() => this.#finish({ how: 'neverStarted', why: codeOf(error) }));
      return undefined;
    }
    child.once('error', (error) => {
      if (child.pid === undefined) this.#finish({ how: 'neverStarted', why: error.message });
    });
    if (!hasPipes(child)) return undefined;
    const stdout = new LineSplitter(maxLineBytes, {
      line: (line) => {
        lines += 1;
        if (line.length === 0) return;
        const clean = redact(line);
        blankBreaks(clean);
        const { drain, settled } = onLine(clean);
        this.#holdBack('stdout', drain);
        const now = this.#elapsed();
        if (!settled) busyMs += now - since;
        since = now;
      },
      overlong: () => void this.stop(`it sent a message of more than ${maxLineBytes} bytes`),
    });
    const stderr = new LineSplitter(MAX_STDERR_LINE_BYTES, {
      line: (line) => {
        lines += 1;
        onStderr(redact(line));
      },
      overlong: () => onStderr(Buffer.from('[line too long]')),
    });
    let lines = 0;
    let busyMs = 0;
    let since = 0;
    const hear = (name: 'stdout' | 'stderr', splitter: LineSplitter) => (chunk: Buffer) => {
      // A chunk is work as well, however small.
      lines = 1;
      busyMs = 0;
      since = this.#elapsed();
      try {
        if (!this.#isFaulty) splitter.push(chunk);
      } catch (error) {
        return this.#fail(error);
      }
      if (name === 'stderr') busyMs += this.#elapsed() - since;
      const rest = this.#paces[name].spend({ bytes: chunk.length, lines, busyMs });
      // What was left in the pipe by a child that is gone is read at once: it is not much.
      if (rest === undefined || child.exitCode !== null || child.signalCode !== null) return;
      this.#holdBack(name, rest);
      if (!this.#flooded.has(name)) onFlood?.(name);
      this.#flooded.add(name);
    };
    child.stdout.on('data', hear('stdout', stdout));
    child.stderr.on('data', hear('stderr', stderr)).on('end', () => stderr.flush());
    // A write to a child that is gone fails here; its end is told by `exit`.
    for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe.on('error', () => undefined);
    child.once('exit', (code, signal) => this.#exited(child, code, signal));
    return child;
  }

  /** One child may not end the others: a fault of ours that its words bring out costs its process alone. */
  #fail(error: unknown): void {
    this.#isFaulty = true;
    void this.stop('a message of it could not be handled');
    this.#options.onFault?.(error);
  }

  #holdBack(name: 'stdout' | 'stderr', drain: Drain): void {
    if (drain === undefined || this.#stopping !== undefined) return;
    const stream: Readable | undefined = this.#process?.[name];
    this.#waitingFor[name] += 1;
    stream?.pause();
    void drain.then(() => {
      this.#waitingFor[name] -= 1;
      if (this.#waitingFor[name] === 0) stream?.resume();
    });
  }

  /** The leader is gone; what is left of its group goes now, and the pipes are read to their end. */
  #exited(child: ChildProcessWithoutNullStreams, code: number | null, signal: string | null): void {
    this.#signal('SIGKILL');
    this.#options.guardian.release(this.pid);
    child.stdout.resume();
    child.stderr.resume();
    const end: ChildEnd =
      this.#stopping !== undefined
        ? { how: 'closedByUs', why: this.#stopping }
        : signal !== null
          ? { how: 'signalled', signal }
          : { how: 'exited', code: code ?? 0 };
    const held = setTimeout(() => {
      child.stdout.destroy();
      child.stderr.destroy();
    }, PIPES_GRACE_MS);
    child.once('close', () => {
      clearTimeout(held);
      this.#finish(end);
    });
  }

  #finish(end: ChildEnd): void {
    clearTimeout(this.#timer);
    for (const pace of Object.values(this.#paces)) pace[Symbol.dispose]();
    this.#process = undefined;
    this.#settle(end);
    this.#options.onEnd(end);
  }

  #signal(signal: 'SIGTERM' | 'SIGKILL'): void {
    if (this.pid === 0) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // ESRCH: the group is empty already, which is what was wanted.
    }
  }
}

/** Where no descriptor is free (EMFILE, ENFILE), Node.js makes no pipes; that it failed is told by `error`. */
const hasPipes = (child: ChildProcess): child is ChildProcessWithoutNullStreams => Boolean(child.stdout);

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'spawn failed';

/** "exit code 1", "signal SIGKILL": for the sentence that tells a client or an operator what happened. */
export function describeEnd(end: ChildEnd): string {
  switch (end.how) {
    case 'neverStarted':
      return `could not be started: ${end.why}`;
    case 'exited':
      return `ended with exit code ${end.code}`;
    case 'signalled':
      return `was ended by signal ${end.signal}`;
    case 'closedByUs':
      return `was stopped: ${end.why}`;
  }
}
