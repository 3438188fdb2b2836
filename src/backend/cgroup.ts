/**
 * A cgroup for each child, where the service manager has delegated ours (systemd: `Delegate=`). Its limits hold for all
 * processes of a child together, and its end reaches those that left their process group. Knows cgroup v2 only.
 */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../base/log.js';
import type { ChildLimits } from './limits.js';

const CONTROLLERS = ['memory', 'pids', 'cpu'] as const;
export type Controller = (typeof CONTROLLERS)[number];

/** A cgroup that is ours to divide. */
export interface Delegated {
  readonly folder: string;
  readonly controllers: readonly Controller[];
}

export interface NotDelegated {
  readonly notDelegated: string;
}

/** Where this process stands: `cgroup` is /proc/self/cgroup, `mountinfo` is /proc/self/mountinfo. */
export function ownCgroup(cgroup: string, mountinfo: string): string | undefined {
  const path = /^0::(\/.*)$/m.exec(cgroup)?.[1];
  // proc_pid_mountinfo(5): `id parent major:minor root mountpoint … - type source options`
  const mount = /^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 /m.exec(mountinfo);
  const [, root = '', point = ''] = mount ?? [];
  if (path === undefined || mount === null || !`${path}/`.startsWith(root)) return undefined;
  return join(point, path.slice(root === '/' ? 0 : root.length));
}

/** Looks, and changes nothing. */
export function findDelegated(): Delegated | NotDelegated {
  try {
    const folder = ownCgroup(readText('/proc/self/cgroup'), readText('/proc/self/mountinfo'));
    return folder === undefined ? { notDelegated: 'there is no cgroup v2 here' } : checkDelegated(folder);
  } catch (error) {
    return { notDelegated: describeError(error) };
  }
}

export function checkDelegated(folder: string): Delegated | NotDelegated {
  // A root user may write anywhere, so being able to is not enough: a service has its cgroup to itself.
  if (!folder.endsWith('.service')) return { notDelegated: 'the broker does not run as a systemd service' };
  try {
    for (const name of ['', 'cgroup.procs', 'cgroup.subtree_control'])
      accessSync(join(folder, name), constants.W_OK);
    const controllers = readText(join(folder, 'cgroup.controllers')).trim().split(' ');
    const usable = CONTROLLERS.filter((name) => controllers.includes(name));
    if (usable.length === 0) return { notDelegated: `no controller is delegated to ${folder}` };
    if (readText(join(folder, 'cgroup.procs')).trim().includes('\n'))
      return { notDelegated: `other processes are in ${folder}` };
    return { folder, controllers: usable };
  } catch (error) {
    return { notDelegated: `the service has no Delegate= (${describeError(error)})` };
  }
}

/** The broker itself goes to a leaf, for a cgroup with controllers for its children has no processes of its own. */
export function divide({ folder, controllers }: Delegated): Cgroups | NotDelegated {
  try {
    const own = join(folder, 'broker');
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, 'cgroup.procs'), '0');
    writeFileSync(join(folder, 'cgroup.subtree_control'), controllers.map((name) => `+${name}`).join(' '));
    if (controllers.includes('cpu')) writeFileSync(join(own, 'cpu.weight'), `${BROKER_CPU_WEIGHT}`);
    return new Cgroups(folder, controllers);
  } catch (error) {
    return { notDelegated: `${folder} cannot be divided (${describeError(error)})` };
  }
}

/** Of 1 to 10000, the default is 100: under load the broker gets ten times what one child gets. */
const BROKER_CPU_WEIGHT = 500;
const CHILD_CPU_WEIGHT = 50;
const CHILD_PREFIX = 'child-';
/** A killed process leaves its cgroup when it is reaped. */
const REMOVE_TRIES = 50;
const REMOVE_EVERY_MS = 20;

export class Cgroups {
  readonly #folder: string;
  readonly controllers: readonly Controller[];

  constructor(folder: string, controllers: readonly Controller[]) {
    this.#folder = folder;
    this.controllers = controllers;
  }

  create(limits: ChildLimits): Cgroup {
    const folder = mkdtempSync(join(this.#folder, CHILD_PREFIX));
    try {
      this.#limit(folder, limits);
    } catch (error) {
      rmdirSync(folder);
      throw error;
    }
    return new Cgroup(folder);
  }

  #limit(folder: string, limits: ChildLimits): void {
    for (const controller of this.controllers) {
      for (const [name, value] of Object.entries(valuesOf(controller, limits)))
        writeFileSync(join(folder, name), value);
    }
    // A kernel may be built without it; where it is there, swap is no way around the limit.
    const swap = join(folder, 'memory.swap.max');
    if (existsSync(swap)) writeFileSync(swap, '0');
  }

  /** Ends what a former life left here: ours is the only broker in this cgroup. Gives the processes that it killed. */
  async endFormer(): Promise<readonly number[]> {
    const names = readdirSync(this.#folder).filter((name) => name.startsWith(CHILD_PREFIX));
    const ends = names.map(async (name) => {
      const cgroup = new Cgroup(join(this.#folder, name));
      const { processes } = cgroup;
      await cgroup.end();
      return processes;
    });
    return (await Promise.all(ends)).flat();
  }
}

export class Cgroup {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  get procs(): string {
    return join(this.#folder, 'cgroup.procs');
  }

  get processes(): readonly number[] {
    return readText(this.procs).split('\n').filter(Boolean).map(Number);
  }

  /** How many processes the kernel has killed because the memory was used up. */
  get memoryKills(): number {
    try {
      const events = readText(join(this.#folder, 'memory.events'));
      return Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0);
    } catch {
      return 0;
    }
  }

  /** Kills what is left in it, wherever it hid, and removes it. */
  async end(): Promise<void> {
    try {
      writeFileSync(join(this.#folder, 'cgroup.kill'), '1');
    } catch {
      // Linux before 5.14 has none; a sandbox has taken all of its processes along by now.
    }
    for (let tries = 1; ; tries += 1) {
      try {
        return await rmdir(this.#folder);
      } catch (error) {
        if (tries === REMOVE_TRIES) throw error;
        await delay(REMOVE_EVERY_MS);
      }
    }
  }
}

function valuesOf(controller: Controller, limits: ChildLimits): Readonly<Record<string, string>> {
  switch (controller) {
    case 'memory':
      return {
        'memory.max': `${limits.memoryBytes}`,
        // All of a child dies, not the one of its processes that happened to ask last.
        'memory.oom.group': '1',
      };
    case 'pids':
      return { 'pids.max': `${limits.processes}` };
    case 'cpu':
      return { 'cpu.weight': `${CHILD_CPU_WEIGHT}` };
  }
}

function readText(path: string): string {
  return readFileSync(path, 'utf8');
}
