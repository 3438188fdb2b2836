/**
 * Where children live so that they can harm nobody: decided once at the start from what this machine gives, then a place
 * for each child. The best there is, from a sandbox with a cgroup down to a private folder with resource limits.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { arch, platform, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  type Cgroup,
  type Cgroups,
  type Delegated,
  divide,
  findDelegated,
  type NotDelegated,
} from './cgroup.js';
import { isLaunchFault, type LaunchPlan, resolveCommand, type ServerEntry } from './launch.js';
import { type ChildLimits, entered, limited } from './limits.js';
import { confine, GROUP, PASSWD, SANDBOX_HOME } from './sandbox.js';
import { seccompFilter } from './seccomp.js';
import { resolveShown, type ShownOptions } from './shown.js';

export const SANDBOX_MODES = ['auto', 'bubblewrap', 'none'] as const;
export type SandboxMode = (typeof SANDBOX_MODES)[number];

export interface ContainmentOptions {
  readonly mode: SandboxMode;
  /** Where bubblewrap is looked for. */
  readonly path: string;
  readonly show: ShownOptions;
  readonly limits: ChildLimits;
}

export type Sandbox =
  | {
      readonly is: 'bubblewrap';
      readonly command: string;
      readonly version: string;
      readonly seccomp: boolean;
    }
  | { readonly is: 'none'; readonly why: string };

/** What this machine gives. */
export interface Surroundings {
  readonly sandbox: Sandbox;
  readonly cgroup: Delegated | NotDelegated;
}

/** A child's place: made before it, cleared after it. */
export interface Place {
  readonly home: string;
  readonly confine: (plan: LaunchPlan, entry: ServerEntry) => LaunchPlan;
  /** What the kernel did to it that its end does not tell. */
  readonly memoryKills: () => number;
  readonly clear: () => Promise<void>;
}

/**
 * What V8 since Node.js 24 maps for code before it has any: writable, so RLIMIT_DATA counts it, and untouched, so it is not
 * memory.
 */
const CODE_RANGE_BYTES = 512 * 1024 * 1024;
const PROBE_MS = 5000;

/** Looks what works here, and changes nothing. */
export async function surveySurroundings(options: ContainmentOptions): Promise<Surroundings> {
  // Before the probe, of which a process may still be on its way out.
  const cgroup = findDelegated();
  return { cgroup, sandbox: await probeSandbox(options) };
}

/** What each resource of a child is held by; the rest of the reasons is in `cgroup.notDelegated`. */
export function describeLimits({ sandbox, cgroup }: Surroundings): Readonly<Record<string, string>> {
  const has = (name: string) => 'controllers' in cgroup && cgroup.controllers.some((one) => one === name);
  const countable = sandbox.is === 'bubblewrap' && !isRoot();
  return {
    memory: has('memory') ? 'cgroup' : 'each process',
    processes: has('pids') ? 'cgroup' : countable ? 'user namespace' : 'unlimited',
    cpu: has('cpu') ? 'cgroup' : 'nice',
    disk: sandbox.is === 'bubblewrap' ? 'sandbox' : 'each file',
  };
}

export class Containment {
  readonly surroundings: Surroundings;
  readonly #options: ContainmentOptions;
  readonly #cgroups: Cgroups | undefined;

  private constructor(options: ContainmentOptions, surroundings: Surroundings, cgroups: Cgroups | undefined) {
    this.surroundings = surroundings;
    this.#options = options;
    this.#cgroups = cgroups;
  }

  /** Looks what works here and makes use of it: a cgroup that is delegated is divided from here on. */
  static async open(options: ContainmentOptions): Promise<Containment> {
    const cgroup = findDelegated();
    const cgroups = 'notDelegated' in cgroup ? cgroup : divide(cgroup);
    const sandbox = await probeSandbox(options);
    return 'notDelegated' in cgroups
      ? new Containment(options, { sandbox, cgroup: cgroups }, undefined)
      : new Containment(options, { sandbox, cgroup }, cgroups);
  }

  /** Ends what a former life left in cgroups of ours, wherever it hid; gives the processes that it killed. */
  async endFormer(): Promise<readonly number[]> {
    return (await this.#cgroups?.endFormer()) ?? [];
  }

  /** `folder` is private, and the children's. */
  place(folder: string): Place {
    const home = this.surroundings.sandbox.is === 'none' ? mkdtempSync(join(folder, 'home-')) : undefined;
    let cgroup: Cgroup | undefined;
    try {
      cgroup = this.#cgroups?.create(this.#options.limits);
    } catch (error) {
      if (home !== undefined) rmdirSync(home);
      throw error;
    }
    return {
      home: home ?? SANDBOX_HOME,
      confine: (plan, entry) => this.#confine(plan, entry, folder, cgroup),
      memoryKills: () => cgroup?.memoryKills ?? 0,
      clear: async () => {
        await cgroup?.end();
        if (home !== undefined) await rm(home, { recursive: true, force: true });
      },
    };
  }

  #confine(plan: LaunchPlan, entry: ServerEntry, folder: string, cgroup: Cgroup | undefined): LaunchPlan {
    const { limits, show } = this.#options;
    const { sandbox } = this.surroundings;
    const isSandboxed = sandbox.is === 'bubblewrap';
    const holds = (name: string) => this.#cgroups?.controllers.some((one) => one === name) ?? false;
    const inner = limited(plan, {
      openFiles: limits.openFiles,
      dataBytes: holds('memory') ? undefined : limits.memoryBytes + CODE_RANGE_BYTES,
      fileBytes: isSandboxed ? undefined : limits.diskBytes,
      processes: isSandboxed && !holds('pids') ? limits.processes : undefined,
      isNice: !holds('cpu'),
    });
    const procs = cgroup?.procs;
    if (!isSandboxed) return entered(inner, { procs });
    const { filter, ...files } = layOut(folder);
    const shown = resolveShown(plan.command, entry.args, show);
    const view = { bwrap: sandbox.command, ...files, filter, shown, diskBytes: limits.diskBytes };
    return entered(confine(inner, view), { procs, filter });
  }
}

/** bubblewrap is asked to do all that it will be asked to do, around a program that does nothing. */
async function probeSandbox(options: ContainmentOptions): Promise<Sandbox> {
  if (options.mode === 'none') return { is: 'none', why: 'it is switched off' };
  if (platform() !== 'linux') return { is: 'none', why: 'bubblewrap needs Linux' };
  const command = resolveCommand('bwrap', options.path);
  if (isLaunchFault(command)) return { is: 'none', why: 'bubblewrap is not installed' };
  const run = promisify(execFile);
  const folder = mkdtempSync(join(tmpdir(), 'fjmcp-probe-'));
  try {
    const { stdout } = await run(command, ['--version'], { timeout: PROBE_MS, env: {} });
    const { filter, ...files } = layOut(folder);
    const shown = { roots: [], maskedFolders: [], maskedFiles: [] };
    const nothing = { command: '/bin/sh', args: ['-c', ':'], env: {}, cwd: SANDBOX_HOME };
    const view = { bwrap: command, ...files, filter, shown, diskBytes: options.limits.diskBytes };
    const plan = entered(confine(nothing, view), { filter });
    await run(plan.command, plan.args, { timeout: PROBE_MS, env: plan.env, cwd: plan.cwd });
    const version = stdout.replace(/^bubblewrap/, '').trim();
    return { is: 'bubblewrap', command, version, seccomp: filter !== undefined };
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    return { is: 'none', why: `bubblewrap does not work here: ${said || String(error)}` };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a sandbox reads from files. A cleaner of the temporary folder may have removed them. */
export function layOut(folder: string) {
  const lay = (name: string, content: string | Buffer) => {
    const path = join(folder, name);
    if (existsSync(path)) return path;
    // Whole or not at all: on a full disk half a file would stay, and count as there.
    rmSync(`${path}.new`, { force: true });
    writeFileSync(`${path}.new`, content, { mode: 0o444 });
    renameSync(`${path}.new`, path);
    return path;
  };
  const program = seccompFilter(arch());
  return {
    passwd: lay('passwd', PASSWD),
    group: lay('group', GROUP),
    filter: program && lay('filter', program),
  };
}

/** setrlimit(2): the kernel counts no processes of the machine's root user, in whatever user namespace. */
function isRoot(): boolean {
  return userInfo().uid === 0;
}
