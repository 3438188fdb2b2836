/**
 * A disk that can be filled: a small tmpfs where we may mount one. Elsewhere the broker may for a while not write beyond
 * the first byte of any file, which is the nearest thing to it.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface Disk extends Disposable {
  readonly kind: 'tmpfs' | 'file size limit';
  readonly folder: string;
  fill(pid: number): void;
  free(pid: number): void;
}

const SIZE = '24m';
const BLOCK = Buffer.alloc(64 * 1024, 1);

export function openDisk(folder: string): Disk {
  mkdirSync(folder);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE}`, 'chaos', folder]).status === 0;
  return mounted ? tmpfs(folder) : limited(folder);
}

function tmpfs(folder: string): Disk {
  const ballast = join(folder, 'ballast');
  const unmount = () => void spawnSync('umount', ['-l', folder]);
  process.once('exit', unmount);
  return {
    kind: 'tmpfs',
    folder,
    fill() {
      const file = openSync(ballast, 'a');
      try {
        // To the last byte: smaller blocks when the large ones no longer fit.
        for (let size = BLOCK.length; size >= 1; ) {
          try {
            if (writeSync(file, BLOCK, 0, size) < size) size = Math.floor(size / 2);
          } catch {
            size = Math.floor(size / 2);
          }
        }
      } finally {
        closeSync(file);
      }
    },
    free: () => rmSync(ballast, { force: true }),
    [Symbol.dispose]() {
      process.off('exit', unmount);
      unmount();
    },
  };
}

function limited(folder: string): Disk {
  const limit = (pid: number, size: string) => {
    const { status, stderr } = spawnSync('prlimit', ['--pid', `${pid}`, `--fsize=${size}:`]);
    if (status !== 0) throw new Error(`prlimit: ${stderr}`);
  };
  return {
    kind: 'file size limit',
    folder,
    fill: (pid) => limit(pid, '1'),
    free: (pid) => limit(pid, 'unlimited'),
    [Symbol.dispose]: () => undefined,
  };
}
