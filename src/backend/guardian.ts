/**
 * No child survives the broker, not even `kill -9` of it. One tiny shell holds the other end of a pipe; when the broker
 * is gone the pipe ends, and the shell kills every process group still on its list. POSIX sh only, no native code. For the
 * case that both are killed the list is on file as well (`orphans.ts`).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import type { Log } from '../base/log.js';
import type { Roll } from './orphans.js';

/**
 * Reads `+pgid` and `-pgid`, and the path of another folder. Ignores the signals a terminal or a service manager sends to the whole group: it must
 * outlive the broker by a moment. `$1` is the folder of the children's homes, removed last.
 */
const SCRIPT = `
trap '' INT TERM HUP
groups=
while read -r line; do
  case $line in
    +*) groups="$groups \${line#+}" ;;
    -*) kept=
        for group in $groups; do [ "$group" = "\${line#-}" ] || kept="$kept $group"; done
        groups=$kept ;;
    /*) set -- "$line" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
rm -rf -- "$1"
`;

/** A guardian that dies at once each time (no /bin/sh?) must not become a loop of its own. */
const RESTART_DELAY_MS = 1000;

export class Guardian implements AsyncDisposable {
  readonly #groups = new Set<number>();
  #folder: string;
  readonly #log: Log;
  readonly #roll: Roll | undefined;
  #state: { is: 'watching'; shell: ChildProcess } | { is: 'down'; retry: NodeJS.Timeout } | { is: 'closed' };

  constructor(folder: string, log: Log, roll?: Roll) {
    this.#folder = folder;
    this.#log = log;
    this.#roll = roll;
    this.#state = { is: 'watching', shell: this.#start() };
  }

  watch(group: number): void {
    this.#groups.add(group);
    this.#tell(`+${group}\n`);
    this.#roll?.add(group);
  }

  release(group: number): void {
    this.#groups.delete(group);
    this.#tell(`-${group}\n`);
    this.#roll?.remove(group);
  }

  /** Homes are in this folder from now on; the one before it is gone, and its name may be another's. */
  guard(folder: string): void {
    this.#folder = folder;
    this.#tell(`${folder}\n`);
    this.#roll?.move(folder);
  }

  /** Ends the shell; it kills what is still on its list, so this comes after the children. */
  async [Symbol.asyncDispose](): Promise<void> {
    const state = this.#state;
    this.#state = { is: 'closed' };
    if (state.is === 'down') clearTimeout(state.retry);
    if (state.is !== 'watching' || hasEnded(state.shell)) return;
    const ended = new Promise((resolve) => state.shell.once('exit', resolve).once('error', resolve));
    state.shell.ref();
    state.shell.stdin?.end();
    await ended;
  }

  #start(): ChildProcess {
    const shell = spawn('/bin/sh', ['-c', SCRIPT, 'fjmcp-guardian', this.#folder], {
      detached: true,
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    shell.stdin?.on('error', () => undefined);
    shell.once('error', () => this.#lost(shell)).once('exit', () => this.#lost(shell));
    for (const group of this.#groups) shell.stdin?.write(`+${group}\n`);
    // It waits for us, so we must not wait for it.
    shell.unref();
    if (shell.stdin instanceof Socket) shell.stdin.unref();
    return shell;
  }

  #lost(shell: ChildProcess): void {
    if (this.#state.is !== 'watching' || this.#state.shell !== shell) return;
    this.#log.warn('guardian.lost', { pid: shell.pid });
    const retry = setTimeout(() => {
      this.#state = { is: 'watching', shell: this.#start() };
    }, RESTART_DELAY_MS);
    retry.unref();
    this.#state = { is: 'down', retry };
  }

  #tell(line: string): void {
    if (this.#state.is === 'watching') this.#state.shell.stdin?.write(line);
  }
}

function hasEnded(shell: ChildProcess): boolean {
  return shell.pid === undefined || shell.exitCode !== null || shell.signalCode !== null;
}
