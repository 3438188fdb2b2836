/**
 * A seccomp filter for children, as the classic BPF program that seccomp(2) takes. It allows all but a list: what an
 * MCP server has no use for and what has led out of user namespaces before. A pure table; bubblewrap installs it.
 */

type Arch = 'x64' | 'arm64';

/** AUDIT_ARCH_* of linux/audit.h. */
const AUDIT_ARCH: Readonly<Record<Arch, number>> = { x64: 0xc000003e, arm64: 0xc00000b7 };

/** Numbers from asm/unistd_64.h and asm-generic/unistd.h. */
const DENIED: readonly (readonly [name: string, x64: number, arm64: number | undefined])[] = [
  // Other processes' memory and files.
  ['ptrace', 101, 117],
  ['process_vm_readv', 310, 270],
  ['process_vm_writev', 311, 271],
  ['process_madvise', 440, 440],
  ['kcmp', 312, 272],
  ['pidfd_getfd', 438, 438],
  // Keyrings are not divided by namespaces.
  ['keyctl', 250, 219],
  ['add_key', 248, 217],
  ['request_key', 249, 218],
  // Wide interfaces of the kernel.
  ['bpf', 321, 280],
  ['perf_event_open', 298, 241],
  ['userfaultfd', 323, 282],
  ['io_uring_setup', 425, 425],
  ['syslog', 103, 116],
  // A file system or a namespace of its own.
  ['mount', 165, 40],
  ['umount2', 166, 39],
  ['pivot_root', 155, 41],
  ['chroot', 161, 51],
  ['open_tree', 428, 428],
  ['move_mount', 429, 429],
  ['fsopen', 430, 430],
  ['fsconfig', 431, 431],
  ['fsmount', 432, 432],
  ['fspick', 433, 433],
  ['mount_setattr', 442, 442],
  ['unshare', 272, 97],
  ['setns', 308, 268],
  ['name_to_handle_at', 303, 264],
  ['open_by_handle_at', 304, 265],
  // The machine.
  ['kexec_load', 246, 104],
  ['kexec_file_load', 320, 294],
  ['init_module', 175, 105],
  ['finit_module', 313, 273],
  ['delete_module', 176, 106],
  ['reboot', 169, 142],
  ['swapon', 167, 224],
  ['swapoff', 168, 225],
  ['acct', 163, 89],
  ['iopl', 172, undefined],
  ['ioperm', 173, undefined],
];
const CLONE: Readonly<Record<Arch, number>> = { x64: 56, arm64: 220 };
const CLONE3 = 435;
const IOCTL: Readonly<Record<Arch, number>> = { x64: 16, arm64: 29 };

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const CLONE_NEW = 0x7e020000;
/** Both put words into a terminal's input. */
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;
/** System calls of the x32 ABI, under the architecture of x86-64. */
const X32_BIT = 0x40000000;

/** linux/bpf_common.h and linux/filter.h: load a word, jump if equal, if at least, if a bit is set; return. */
const LOAD = 0x20;
const EQUAL = 0x15;
const AT_LEAST = 0x35;
const ANY_BIT = 0x45;
const RETURN = 0x06;

/** Where struct seccomp_data keeps what; of a 64-bit argument the low word, both machines being little-endian. */
const NUMBER = 0;
const ARCHITECTURE = 4;
const argument = (index: number) => 16 + 8 * index;

const ALLOW = 0x7fff0000;
const errno = (code: number) => 0x00050000 + code;
const EPERM = errno(1);
const ENOSYS = errno(38);

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, k: number];

/** The program for this architecture (as Node.js calls it), or undefined where we have no table. */
export function seccompFilter(arch: string): Buffer | undefined {
  if (arch !== 'x64' && arch !== 'arm64') return undefined;
  const refuse = (test: number, k: number, how = EPERM): Instruction[] => [
    [test, 0, 1, k],
    [RETURN, 0, 0, how],
  ];
  const numbers = DENIED.map(([, x64, arm64]) => (arch === 'x64' ? x64 : arm64));
  const program: Instruction[] = [
    [LOAD, 0, 0, ARCHITECTURE],
    [EQUAL, 1, 0, AUDIT_ARCH[arch]],
    [RETURN, 0, 0, EPERM],
    [LOAD, 0, 0, NUMBER],
    ...(arch === 'x64' ? refuse(AT_LEAST, X32_BIT) : []),
    ...numbers.flatMap((number) => (number === undefined ? [] : refuse(EQUAL, number))),
    // Its flags are in memory, where no filter can look; C libraries then fall back to clone.
    ...refuse(EQUAL, CLONE3, ENOSYS),
    [EQUAL, 0, 4, CLONE[arch]],
    [LOAD, 0, 0, argument(0)],
    ...refuse(ANY_BIT, CLONE_NEW),
    [RETURN, 0, 0, ALLOW],
    [EQUAL, 0, 5, IOCTL[arch]],
    [LOAD, 0, 0, argument(1)],
    ...refuse(EQUAL, TIOCSTI),
    ...refuse(EQUAL, TIOCLINUX),
    [RETURN, 0, 0, ALLOW],
  ];
  return encode(program);
}

/** struct sock_filter: u16 code, u8 jt, u8 jf, u32 k. */
function encode(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  program.forEach(([code, ifTrue, ifFalse, k], index) => {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(ifTrue, index * 8 + 2);
    bytes.writeUInt8(ifFalse, index * 8 + 3);
    bytes.writeUInt32LE(k, index * 8 + 4);
  });
  return bytes;
}
