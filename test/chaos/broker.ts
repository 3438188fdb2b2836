/**
 * The broker as a process that can be ended in every way. As under systemd with the socket unit, somebody else holds the
 * listening socket: a shell, which waits for the order to start a broker and tells how it ended.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { until } from '../fixtures/until.js';
import { ask } from '../support/ask.js';
import { root } from '../support/command.js';
import { descendantsOf, survivorsOf } from '../support/processes.js';
import { parseSeries, type Series } from '../support/scrape.js';

/** `$1` is the log, the rest is the command. The pid of the shell becomes that of the broker. */
const HOLDER = `
log=$1; shift
while read -r order; do
  sh -c 'echo "pid $$"; export LISTEN_PID=$$ LISTEN_FDS=1; log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null' sh "$log" "$@"
  echo "end $?"
done
`;
const START_MS = 20_000;
/** More than a stop may take: what is in flight, the upstream's time limit, the children. */
const STOP_MS = 30_000;
const SURVIVAL_MS = 3000;

export interface BrokerOptions {
  /** For the log, and the name by which its processes are known. */
  readonly folder: string;
  readonly server: Server;
  readonly url: string;
  readonly metricsUrl: string;
  readonly env: Readonly<Record<string, string>>;
}

/** A socket that listens, and is never accepted from by us once its holder has it. */
export async function openSocket(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer();
  server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 });
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return { server, port: address.port };
}

/** Node has no public name for it. */
function descriptorOf(server: Server): number {
  const { fd } = Reflect.get(server, '_handle') as { readonly fd: number };
  return fd;
}

export class BrokerProcess {
  readonly #options: BrokerOptions;
  readonly #holder: ChildProcess;
  readonly #news = new EventEmitter();
  /** What the present one has been told to do. */
  #state: 'down' | 'up' | 'ending' = 'down';
  #code = 0;
  pid = 0;
  lives = 0;
  onUnexpectedEnd: (code: number) => void = () => undefined;

  constructor(options: BrokerOptions) {
    this.#options = options;
    const { server, folder, env } = options;
    const node = [process.execPath, '--expose-gc', '--import', join(import.meta.dirname, 'collect.js')];
    this.#holder = spawn(
      '/bin/sh',
      ['-c', HOLDER, 'socket', this.logFile, ...node, join(root, 'dist/src/main.js'), 'serve'],
      { env: { ...env }, cwd: folder, stdio: ['pipe', 'pipe', 'ignore', descriptorOf(server)] },
    );
    server.close();
    let text = '';
    this.#holder.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (text + chunk).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) this.#hear(line);
    });
    process.once('exit', () => this.#holder.kill('SIGKILL'));
  }

  get logFile(): string {
    return join(this.#options.folder, 'broker.log');
  }

  get isUp(): boolean {
    return this.#state === 'up';
  }

  #hear(line: string): void {
    const [word, value] = line.split(' ');
    if (word === 'pid') {
      this.pid = Number(value);
      this.#news.emit('pid');
      return;
    }
    this.#code = Number(value);
    const expected = this.#state === 'ending';
    this.#state = 'down';
    this.#news.emit('end');
    if (!expected) this.onUnexpectedEnd(this.#code);
  }

  /** Returns as soon as there is a process. */
  async launch(): Promise<void> {
    const started = once(this.#news, 'pid');
    this.#holder.stdin?.write('start\n');
    await started;
    this.#state = 'up';
    this.lives += 1;
  }

  async start(): Promise<void> {
    await this.launch();
    await until('a broker that is ready', () => this.#isReady(), START_MS);
  }

  async #isReady(): Promise<boolean> {
    assert.ok(this.isUp, 'the broker ended before it was ready');
    const answer = await ask(`${this.#options.metricsUrl}/readyz`).catch(() => undefined);
    return answer?.status === 200;
  }

  /** Returns the exit code, and what outlived it. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<{ code: number; survivors: number; tookMs: number }> {
    const family = descendantsOf(this.pid);
    const startedAt = Date.now();
    this.#state = 'ending';
    const ended = once(this.#news, 'end', { signal: AbortSignal.timeout(STOP_MS) });
    process.kill(this.pid, signal);
    await ended;
    const tookMs = Date.now() - startedAt;
    const survivors = await survivorsOf(family, SURVIVAL_MS);
    for (const { pid } of survivors) process.kill(pid, 'SIGKILL');
    return { code: this.#code, survivors: survivors.length, tookMs };
  }

  async scrape(): Promise<Series> {
    const { body } = await ask(`${this.#options.metricsUrl}/metrics`);
    return parseSeries(body);
  }

  /** Of the present process. */
  get memory(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024;
  }

  /** Collects garbage soon. */
  tidy(): void {
    process.kill(this.pid, 'SIGUSR2');
  }

  /** What is open, by its kind: `socket`, `pipe`, the path of a file. */
  get descriptors(): readonly string[] {
    const folder = `/proc/${this.pid}/fd`;
    return readdirSync(folder).flatMap((fd) => {
      try {
        return [readlinkSync(join(folder, fd)).replace(/:\[\d+\]$/, '')];
      } catch {
        return [];
      }
    });
  }

  /** Lets go of the socket. */
  async close(): Promise<void> {
    const ended = once(this.#holder, 'exit');
    this.#holder.stdin?.end();
    await ended;
  }
}

/** Processes in whose command line or environment `mark` stands: all that belong to this run, but us. */
export function processesMarked(mark: string): { readonly pid: number; readonly command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        const environment = readFileSync(`/proc/${name}/environ`, 'latin1');
        return command.includes(mark) || environment.includes(mark) ? [{ pid: Number(name), command }] : [];
      } catch {
        return []; // ended meanwhile, or not ours
      }
    });
}
