/** A home for a program that would open a browser: whatever could open a window there does nothing. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Home extends Disposable {
  readonly path: string;
  readonly env: Record<string, string>;
}

export function makeHome(): Home {
  const path = mkdtempSync(join(tmpdir(), 'quiet-home-'));
  const bin = join(path, 'bin');
  mkdirSync(bin);
  for (const name of ['open', 'xdg-open', 'browser']) {
    writeFileSync(join(bin, name), '#!/bin/sh\nexit 0\n');
    chmodSync(join(bin, name), 0o755);
  }
  const env = { HOME: path, PATH: `${bin}:/usr/bin:/bin`, BROWSER: join(bin, 'browser') };
  return { path, env, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
