/**
 * Children that a former life of this broker left behind, because its guardian was killed together with it. Those that run
 * are written down beside the database. A pid alone names nobody; with the boot and the start time it names one process
 * for ever. Where there is no /proc nothing is written down, and nobody looked for.
 */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { z } from 'zod';
import { describeError, type Log } from '../base/log.js';
import type { Containment } from './containment.js';

/** How the folders of children's homes begin. */
export const FOLDER_PREFIX = 'fjmcp-';

const Written = z.object({
  boot: z.string(),
  /** Of the children's homes. */
  folder: z.string(),
  /** Leaders of process groups. */
  children: z.array(z.object({ pid: z.number().int().min(2), startedAt: z.string() })),
});

/** The children that run now, on file. There is no file while there are none. */
export class Roll {
  readonly #path: string | undefined;
  #folder: string;
  readonly #log: Log;
  readonly #boot = bootId();
  readonly #children = new Map<number, string>();
  #fails = false;

  constructor(path: string | undefined, folder: string, log: Log) {
    this.#path = path;
    this.#folder = folder;
    this.#log = log;
  }

  add(pid: number): void {
    const startedAt = statOf(pid)?.startedAt;
    if (startedAt === undefined) return;
    this.#children.set(pid, startedAt);
    this.#write();
  }

  remove(pid: number): void {
    if (this.#children.delete(pid)) this.#write();
  }

  move(folder: string): void {
    this.#folder = folder;
    this.#write();
  }

  /** Whole or not at all, however we end. It need not survive the machine, for the children do not. */
  #write(): void {
    const path = this.#path;
    if (path === undefined || this.#boot === undefined) return;
    const children = [...this.#children].map(([pid, startedAt]) => ({ pid, startedAt }));
    const written: z.infer<typeof Written> = { boot: this.#boot, folder: this.#folder, children };
    try {
      if (children.length === 0) rmSync(path, { force: true });
      else {
        writeFileSync(`${path}.new`, JSON.stringify(written), { mode: 0o600 });
        renameSync(`${path}.new`, path);
      }
      this.#fails = false;
    } catch (error) {
      if (!this.#fails) this.#log.warn('children.unrecorded', { error: describeError(error) });
      this.#fails = true;
    }
  }
}

/** Ends what a former life left, in cgroups of ours and by the file it wrote. Whoever wrote it must be gone. */
export async function endOrphans(
  rollFile: string | undefined,
  containment: Pick<Containment, 'endFormer'>,
  log: Log,
): Promise<void> {
  try {
    if (rollFile !== undefined) endWritten(rollFile, log);
    for (const pid of await containment.endFormer()) log.warn('orphan.ended', { pid });
  } catch (error) {
    log.warn('orphan.remains', { error: describeError(error) });
  }
}

function endWritten(path: string, log: Log): void {
  const written = readRoll(path, log);
  if (written === undefined) return;
  if (written.boot === bootId()) {
    const running = listProcesses().filter(({ state }) => state !== 'Z' && state !== 'X');
    for (const child of written.children) endGroup(child, written.folder, running, log);
    // What it names was written by us, and yet: nothing else is ever removed.
    if (basename(written.folder).startsWith(FOLDER_PREFIX))
      rmSync(written.folder, { recursive: true, force: true, maxRetries: 3 });
  }
  rmSync(path, { force: true });
}

function readRoll(path: string, log: Log): z.infer<typeof Written> | undefined {
  try {
    return Written.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!isMissing) log.warn('children.unreadable', { file: path, error: describeError(error) });
    return undefined;
  }
}

type Child = z.infer<typeof Written>['children'][number];

function endGroup({ pid, startedAt }: Child, folder: string, running: readonly Stat[], log: Log): void {
  const leader = statOf(pid);
  const members = running.filter(({ group }) => group === pid);
  if (members.length === 0) return;
  // A number is given away again when its whole group has gone. With its leader, only their homes still tell whose they are.
  const isOurs =
    leader === undefined
      ? members.some((member) => livesIn(member.pid, folder))
      : leader.startedAt === startedAt;
  if (!isOurs) return;
  try {
    process.kill(-pid, 'SIGKILL');
    log.warn('orphan.ended', { pid, processes: members.length });
  } catch (error) {
    log.warn('orphan.remains', { pid, error: describeError(error) });
  }
}

interface Stat {
  readonly pid: number;
  readonly state: string;
  readonly group: number;
  /** Clock ticks since the boot. */
  readonly startedAt: string;
}

function listProcesses(): Stat[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => statOf(Number(name)) ?? []);
}

/** proc_pid_stat(5): `pid (command) state parent group …`, the start is field 22; the command may hold anything, also `)`. */
function statOf(pid: number): Stat | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { pid, state: fields[0] ?? '', group: Number(fields[2]), startedAt: fields[19] ?? '' };
}

/** A child's environment says where its home is, and its descendants inherit it. */
function livesIn(pid: number, folder: string): boolean {
  return readIfThere(`/proc/${pid}/environ`)?.includes(`=${folder}/`) ?? false;
}

function bootId(): string | undefined {
  return readIfThere('/proc/sys/kernel/random/boot_id')?.trim();
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
