/** Which processes a process has started, as the kernel sees it: to prove that none is left behind. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly state: string;
  /** Start time in clock ticks: with the pid it names one process for ever. */
  readonly startedAt: string;
  readonly command: string;
}

/** All descendants of `pid`. Empty where there is no /proc. */
export function descendantsOf(pid: number): Process[] {
  const all = listProcesses();
  const children = (parent: number): Process[] =>
    all.filter((one) => one.parent === parent).flatMap((one) => [one, ...children(one.pid)]);
  return children(pid);
}

/** Those of `processes` that still run after up to `graceMs`; a zombie counts as ended. */
export async function survivorsOf(processes: readonly Process[], graceMs: number): Promise<Process[]> {
  const deadline = Date.now() + graceMs;
  for (;;) {
    const alive = new Set(
      listProcesses()
        .filter(({ state }) => state !== 'Z' && state !== 'X')
        .map(nameOf),
    );
    const left = processes.filter((one) => alive.has(nameOf(one)));
    if (left.length === 0 || Date.now() > deadline) return left;
    await sleep(20);
  }
}

function nameOf({ pid, startedAt }: Process): string {
  return `${pid}/${startedAt}`;
}

function listProcesses(): Process[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        return [parseStat(readFileSync(`/proc/${name}/stat`, 'utf8'))];
      } catch {
        return []; // ended between the listing and the reading
      }
    });
}

/** proc(5): `pid (command) state parent …`, start time is field 22; the command may hold anything, also `)`. */
function parseStat(stat: string): Process {
  const close = stat.lastIndexOf(')');
  const rest = stat.slice(close + 2).split(' ');
  return {
    pid: Number.parseInt(stat, 10),
    command: stat.slice(stat.indexOf('(') + 1, close),
    state: rest[0] ?? '',
    parent: Number(rest[1]),
    startedAt: rest[19] ?? '',
  };
}
