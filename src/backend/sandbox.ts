/**
 * A child in a bubblewrap sandbox: namespaces of its own, system folders read-only, nothing of the broker or of other
 * children in sight. Pure: a plan and what to show, made into the plan that runs it. The network stays.
 */
import type { LaunchPlan } from './launch.js';
import type { Shown } from './shown.js';

/** Where a child lives inside: nothing of it exists outside. */
export const SANDBOX_HOME = '/home/mcp';
/** The only user inside, whoever we are outside. */
const UID = '1000';
/** What `/etc/passwd` and `/etc/group` say inside: programs ask for their own name, and need no other. */
export const PASSWD = `mcp:x:${UID}:${UID}::${SANDBOX_HOME}:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n`;
export const GROUP = `mcp:x:${UID}:\nnogroup:x:65534:\n`;

export const SYSTEM_FOLDERS: readonly string[] = [
  '/usr',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
  '/nix/store',
  '/gnu/store',
];

/** What programs need of /etc: names, certificates, the linker, the clock. Not /etc/ssl/private, no configuration. */
const ETC = [
  'alternatives',
  'ca-certificates',
  'ca-certificates.conf',
  'crypto-policies',
  'gai.conf',
  'host.conf',
  'hosts',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'localtime',
  'mime.types',
  'nsswitch.conf',
  'os-release',
  'pki/ca-trust/extracted',
  'pki/tls/certs',
  'protocols',
  'resolv.conf',
  'services',
  'ssl/cert.pem',
  'ssl/certs',
  'ssl/openssl.cnf',
  'timezone',
].map((name) => `/etc/${name}`);

const SETTINGS_OF_THE_KERNEL = ['sys', 'sysrq-trigger', 'fs', 'acpi', 'scsi', 'mtrr'].map(
  (name) => `/proc/${name}`,
);

export interface SandboxView {
  readonly bwrap: string;
  /** Files holding `PASSWD` and `GROUP`. */
  readonly passwd: string;
  readonly group: string;
  /** A file that holds the seccomp program. */
  readonly filter: string | undefined;
  readonly shown: Shown;
  /** What a child may write into each of HOME, /tmp and /dev/shm; all of it is memory, and gone with the child. */
  readonly diskBytes: number;
}

/** Descriptor of the seccomp program; `enterPlan` opens it. */
export const FILTER_FD = 3;

export function confine(plan: LaunchPlan, view: SandboxView): LaunchPlan {
  const { roots, maskedFolders, maskedFiles } = view.shown;
  const writable = (folder: string) => ['--size', `${view.diskBytes}`, '--tmpfs', folder];
  const readOnly = (path: string) => ['--ro-bind-try', path, path];
  return {
    ...plan,
    command: view.bwrap,
    args: [
      ...['--unshare-user', '--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
      ...['--uid', UID, '--gid', UID, '--cap-drop', 'ALL', '--die-with-parent', '--new-session'],
      ...SYSTEM_FOLDERS.flatMap(readOnly),
      ...ETC.flatMap(readOnly),
      ...['--ro-bind', view.passwd, '/etc/passwd', '--ro-bind', view.group, '/etc/group'],
      ...['--proc', '/proc', '--dev', '/dev'],
      // For a broker that runs as root these belong to the child, capabilities or not: /proc/sys/kernel/core_pattern.
      ...SETTINGS_OF_THE_KERNEL.flatMap(readOnly),
      ...writable('/dev/shm'),
      ...writable('/tmp'),
      ...['--symlink', '/tmp', '/var/tmp'],
      ...roots.flatMap(readOnly),
      ...maskedFolders.flatMap((folder) => ['--size', '4096', '--tmpfs', folder]),
      ...maskedFiles.flatMap((file) => ['--ro-bind', '/dev/null', file]),
      ...writable(SANDBOX_HOME),
      // The new root and /dev are file systems in memory too, and nothing bounds them but this.
      ...['--remount-ro', '/dev', '--remount-ro', '/'],
      ...(view.filter === undefined ? [] : ['--seccomp', `${FILTER_FD}`]),
      ...['--chdir', plan.cwd, '--', plan.command, ...plan.args],
    ],
    // Its own working folder exists inside only.
    cwd: '/',
  };
}
