/** The filter's program, run as the kernel runs it: which call, with which arguments, meets which fate. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seccompFilter } from '../../src/backend/seccomp.js';

const ALLOW = 0x7fff0000;
const EPERM = 0x00050001;
const ENOSYS = 0x00050026;
const X64 = 0xc000003e;
const ARM64 = 0xc00000b7;

interface Call {
  readonly architecture?: number;
  readonly number: number;
  readonly arguments?: readonly number[];
}

/** Classic BPF, as far as the program uses it (linux/filter.h). */
function judge(program: Buffer, call: Call, architecture: number): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call.number, 0);
  data.writeUInt32LE(call.architecture ?? architecture, 4);
  for (const [index, value] of (call.arguments ?? []).entries()) data.writeUInt32LE(value, 16 + 8 * index);
  let accumulator = 0;
  for (let at = 0; at < program.length; at += 8) {
    const [code, k] = [program.readUInt16LE(at), program.readUInt32LE(at + 4)];
    const jump = (isTrue: boolean) => {
      at += 8 * program.readUInt8(at + (isTrue ? 2 : 3));
    };
    if (code === 0x20) accumulator = data.readUInt32LE(k);
    else if (code === 0x15) jump(accumulator === k);
    else if (code === 0x35) jump(accumulator >= k);
    else if (code === 0x45) jump((accumulator & k) !== 0);
    else if (code === 0x06) return k;
    else assert.fail(`instruction ${code} at ${at}`);
  }
  return assert.fail('the program has no end');
}

const CASES: readonly (readonly [arch: string, what: string, call: Call, fate: number])[] = [
  ['x64', 'read', { number: 0 }, ALLOW],
  ['x64', 'execve', { number: 59 }, ALLOW],
  ['x64', 'ptrace', { number: 101 }, EPERM],
  ['x64', 'mount', { number: 165 }, EPERM],
  ['x64', 'unshare', { number: 272 }, EPERM],
  ['x64', 'bpf', { number: 321 }, EPERM],
  ['x64', 'keyctl', { number: 250 }, EPERM],
  ['x64', 'ioperm, the last of the list', { number: 173 }, EPERM],
  ['x64', 'clone3, so that the C library falls back', { number: 435 }, ENOSYS],
  ['x64', 'clone of a thread', { number: 56, arguments: [0x003d0f00] }, ALLOW],
  ['x64', 'clone into a user namespace', { number: 56, arguments: [0x10000011] }, EPERM],
  ['x64', 'clone into a mount namespace', { number: 56, arguments: [0x00020011] }, EPERM],
  ['x64', 'ioctl of any kind', { number: 16, arguments: [0, 0x5413] }, ALLOW],
  ['x64', 'ioctl TIOCSTI', { number: 16, arguments: [0, 0x5412] }, EPERM],
  ['x64', 'ioctl TIOCLINUX', { number: 16, arguments: [0, 0x541c] }, EPERM],
  ['x64', 'a call of the x32 ABI', { number: 0x40000000 }, EPERM],
  ['x64', 'a call of 32-bit programs', { architecture: 0x40000003, number: 26 }, EPERM],
  ['arm64', 'read', { number: 63 }, ALLOW],
  ['arm64', 'ptrace', { number: 117 }, EPERM],
  ['arm64', 'mount', { number: 40 }, EPERM],
  ['arm64', 'unshare', { number: 97 }, EPERM],
  ['arm64', 'clone3', { number: 435 }, ENOSYS],
  ['arm64', 'clone of a process', { number: 220, arguments: [0x11] }, ALLOW],
  ['arm64', 'clone into a user namespace', { number: 220, arguments: [0x10000011] }, EPERM],
  ['arm64', 'ioctl TIOCSTI', { number: 29, arguments: [0, 0x5412] }, EPERM],
  ['arm64', 'setresuid', { number: 147 }, ALLOW],
];

describe('the filter on system calls', () => {
  for (const [arch, what, call, fate] of CASES) {
    test(`${fate === ALLOW ? 'allows' : 'refuses'} on ${arch}: ${what}`, () => {
      const program = seccompFilter(arch);
      assert.ok(program !== undefined);
      assert.equal(judge(program, call, arch === 'x64' ? X64 : ARM64), fate);
    });
  }

  test('is not made for a machine whose numbers are not known', () => {
    assert.equal(seccompFilter('riscv64'), undefined);
  });
});
