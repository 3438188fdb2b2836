/**
 * The broker as an operator would try it: `fjmcp-broker demo` as a process of its own, with its stand-in Forgejo.
 * Leaving the block sends SIGINT and insists on an end within two seconds that leaves no process behind.
 */
import assert from 'node:assert/strict';
import { z } from 'zod';
import type { Person } from './browser.js';
import { type Command, startCommand, type Variables } from './command.js';
import { descendantsOf, survivorsOf } from './processes.js';

export { root } from './command.js';

const STOP_MS = 2_000;
const REAP_MS = 500;

const Announcement = z.strictObject({
  mcpUrl: z.url(),
  forgejoUrl: z.url(),
  users: z.array(z.strictObject({ login: z.string(), password: z.string() })),
});

export interface Demo extends AsyncDisposable, z.infer<typeof Announcement> {
  readonly process: Command;
  user(login: string): Person;
  /** Ends it by `signal` instead of SIGINT, with the same insistence. */
  end(signal: NodeJS.Signals): Promise<void>;
}

export interface DemoOptions {
  /** Command line of the stdio server; default: the demo's own. */
  readonly server?: string;
  /** More options; of one given twice the later counts. */
  readonly args?: readonly string[];
  readonly env?: Variables;
}

export async function startDemo({ server, args = [], env = {} }: DemoOptions = {}): Promise<Demo> {
  const options = ['--json', '--port', '0', '--forgejo-port', '0', ...(server ? ['--server', server] : [])];
  const command = startCommand(['demo', ...options, ...args], env);
  try {
    const [line] = await command.written(/^.*\n/);
    const announced = Announcement.parse(JSON.parse(line));
    let asked = false;
    const end = (signal: NodeJS.Signals) => {
      asked = true;
      return endCommand(command, signal);
    };
    return {
      ...announced,
      process: command,
      user: (login) => {
        const found = announced.users.find((user) => user.login === login);
        assert.ok(found, `the demo has no user ${login}`);
        return found;
      },
      end,
      [Symbol.asyncDispose]: () => (asked ? Promise.resolve() : end('SIGINT')),
    };
  } catch (error) {
    command.kill('SIGKILL');
    throw new Error(`the demo did not start; it wrote:\n${command.stderr}`, { cause: error });
  }
}

/** Sends `signal`, and insists that the process obeys within two seconds and leaves no process behind. */
async function endCommand(command: Command, signal: NodeJS.Signals): Promise<void> {
  const wrote = () => `the demo wrote:\n${command.stderr}`;
  assert.ok(!command.hasEnded, `the demo ended by itself; ${wrote()}`);
  const family = descendantsOf(command.pid);
  const started = performance.now();
  command.kill(signal);
  const killer = setTimeout(() => command.kill('SIGKILL'), 5 * STOP_MS);
  const end = await command.ended;
  clearTimeout(killer);
  const took = Math.round(performance.now() - started);
  process.stderr.write(command.stderr); // only complaints are logged: they explain a test that failed
  const left = await survivorsOf(family, REAP_MS);
  for (const { pid } of left) process.kill(pid, 'SIGKILL');
  assert.deepEqual(left, [], `${signal} left processes behind; ${wrote()}`);
  assert.ok(took < STOP_MS, `${signal} took ${took} ms to end the demo; ${wrote()}`);
  assert.deepEqual(end, signal === 'SIGKILL' ? { code: null, signal } : { code: 0, signal: null });
}

/** Words to one command line, quoted as a shell would need it. */
export function commandLine(...words: readonly string[]): string {
  return words
    .map((word) => (/^[\w./:@=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ');
}
