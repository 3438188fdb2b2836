/**
 * What one child may use, and the small shell scripts that see to it before the child's program begins, so that there is
 * no moment in which it is unlimited. POSIX sh, because Node.js can set no limit of the process it spawns.
 */
import type { LaunchPlan } from './launch.js';

export interface ChildLimits {
  readonly memoryBytes: number;
  /** Processes and threads. */
  readonly processes: number;
  readonly openFiles: number;
  /** In each writable folder of a sandbox; without one, of each file. */
  readonly diskBytes: number;
}

/** What the kernel counts for each process (setrlimit(2)); undefined is left as it is. */
export interface ResourceLimits {
  readonly openFiles: number;
  /**
   * Private memory. Not the address space, which bounds nothing that is used: Node.js reserves 10 GiB for one WebAssembly
   * memory, and Go arenas that it never fills.
   */
  readonly dataBytes: number | undefined;
  readonly fileBytes: number | undefined;
  /** Counted for a user in a user namespace: outside of one it would be the broker's and all children's together. */
  readonly processes: number | undefined;
  /** Behind the broker in the queue for the processor. */
  readonly isNice: boolean;
}

// Bash says -u, other shells say -p for processes. A limit that is lower already stays.
const LIMIT = `
{ ulimit -c 0; ulimit -n "$1"; ulimit -d "$2"; ulimit -f "$3"; ulimit -u "$4" || ulimit -p "$4"; } 2>/dev/null
shift 4
`;
// What a shell, or bubblewrap, adds to an environment that was built from nothing.
const RUN = 'unset PWD OLDPWD SHLVL; exec "$@"';
/** The words between a limited shell and the program. */
const NICE = ['nice', '-n', '5'];
const NAME = 'fjmcp-child';

export function limited(plan: LaunchPlan, limits: ResourceLimits): LaunchPlan {
  const { openFiles, dataBytes, fileBytes, processes, isNice } = limits;
  const words = [
    openFiles,
    // In KiB, and in units of 512 bytes.
    dataBytes === undefined ? 'unlimited' : Math.ceil(dataBytes / 1024),
    fileBytes === undefined ? 'unlimited' : Math.ceil(fileBytes / 512),
    processes ?? 'unlimited',
  ];
  const rest = [...(isNice ? NICE : []), plan.command, ...plan.args];
  return { ...plan, command: '/bin/sh', args: ['-c', LIMIT + RUN, NAME, ...words.map(String), ...rest] };
}

export interface Entry {
  /** `cgroup.procs` of the child's cgroup. */
  readonly procs?: string | undefined;
  /** A file to be open as descriptor 3. */
  readonly filter?: string | undefined;
}

/** The plan, begun in its cgroup and with its file open. */
export function entered(plan: LaunchPlan, { procs, filter }: Entry): LaunchPlan {
  // cgroups(7): 0 is the writing process itself.
  const enter = procs === undefined ? '' : 'echo 0 >"$1" || exit 126; shift; ';
  const open = filter === undefined ? '' : 'exec 3<"$1" || exit 126; shift; ';
  if (enter + open === '') return plan;
  const words = [procs, filter].filter((word) => word !== undefined);
  return {
    ...plan,
    command: '/bin/sh',
    args: ['-c', `${enter}${open}${RUN}`, NAME, ...words, plan.command, ...plan.args],
  };
}
