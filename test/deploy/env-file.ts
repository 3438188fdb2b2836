/** `deploy/broker.env.example`, as systemd reads an EnvironmentFile; commented settings too. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../support/demo.js';

export interface EnvFile {
  /** What the file sets. */
  readonly active: Readonly<Record<string, string>>;
  /** What it shows behind a `#`: the defaults. */
  readonly commented: Readonly<Record<string, string>>;
}

export function readExampleEnv(): EnvFile {
  const text = readFileSync(join(root, 'deploy/broker.env.example'), 'utf8');
  const settings = (pattern: RegExp) =>
    Object.fromEntries(
      [...text.matchAll(pattern)].map(([, name = '', value = '']) => [name, unquote(value)]),
    );
  return { active: settings(/^([A-Z_]+)=(.*)$/gm), commented: settings(/^#([A-Z_]+)=(.*)$/gm) };
}

function unquote(value: string): string {
  return value.replace(/^"(.*)"$/, '$1');
}
