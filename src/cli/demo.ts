/** `fjmcp-broker demo`: a stand-in Forgejo, the broker and a small MCP server on this computer, ready to sign in to. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../base/clock.js';
import type { Randomness } from '../base/ids.js';
import { StartProblem } from '../base/start-problem.js';
import { startBroker } from '../broker.js';
import { type LoadedConfig, loadConfig } from '../config.js';
import { type StandInForgejo, startForgejo } from '../demo/forgejo/forgejo.js';
import { freePort } from '../demo/free-port.js';

export interface DemoOptions {
  /** 0 = any free port. */
  readonly port: number;
  readonly forgejoPort: number;
  /** Where state is kept; without it everything is forgotten at the end. */
  readonly data: string | undefined;
  /** Command line of another stdio MCP server. */
  readonly server: string | undefined;
  readonly json: boolean;
  /** PATH for children. */
  readonly path: string | undefined;
  /** Other BROKER_ variables, as an operator would set them. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The Node.js program that runs us. */
  readonly node: string;
  readonly print: (text: string) => void;
  readonly now: Clock;
  readonly random: Randomness;
}

const MCP_SERVER = fileURLToPath(new URL('../demo/mcp-server.js', import.meta.url));

/** Starts everything, says so, and ends all of it once `stopped` settles. */
export async function runDemo(options: DemoOptions, stopped: Promise<unknown>): Promise<void> {
  const { now, random } = options;
  using folder = openFolder(options.data);
  const port = options.port === 0 ? await freePort() : options.port;
  const publicUrl = `http://127.0.0.1:${port}`;
  const stateFile = join(folder.path, 'forgejo.json');
  await using forgejo = await startForgejo({ port: options.forgejoPort, now, stateFile }).catch(
    explainPort('--forgejo-port'),
  );
  const loaded = configure(options, publicUrl, forgejo, folder.path);
  await using _broker = await startBroker(loaded, { now, random }).catch(explainPort('--port'));
  announce(options, publicUrl, forgejo);
  await stopped;
}

/** The folder of the state; one that nobody named is forgotten at the end. */
function openFolder(named: string | undefined): Disposable & { readonly path: string } {
  const path = named ?? mkdtempSync(join(tmpdir(), 'fjmcp-demo-'));
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return {
    path,
    [Symbol.dispose]: () => {
      if (named === undefined) rmSync(path, { recursive: true, force: true });
    },
  };
}

/** The broker wraps what the system says, the stand-in does not. */
function explainPort(option: string): (error: unknown) => never {
  return (error) => {
    const cause = error instanceof StartProblem ? error.cause : error;
    const taken = cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE';
    throw taken ? new StartProblem(`the port is in use; choose another with ${option}`, { cause }) : error;
  };
}

/** The same environment an operator writes, so that the demo takes the same road as production. */
function configure(
  options: DemoOptions,
  publicUrl: string,
  forgejo: StandInForgejo,
  folder: string,
): LoadedConfig {
  const { clientId, clientSecret } = forgejo.ensureApplication({
    name: 'forgejo-mcp-broker',
    redirectUris: [`${publicUrl}/oauth/callback`],
  });
  const loaded = loadConfig(
    {
      BROKER_LOG_LEVEL: 'warn',
      BROKER_LOG_FORMAT: 'text',
      BROKER_DRAIN_SECONDS: '2',
      ...options.env,
      PATH: options.path,
      BROKER_PUBLIC_URL: publicUrl,
      BROKER_LISTEN: new URL(publicUrl).host,
      BROKER_DATABASE: join(folder, 'broker.db'),
      BROKER_ENCRYPTION_KEY: encryptionKey(join(folder, 'encryption.key'), options.random),
      BROKER_MCP_COMMAND:
        options.server === undefined ? quoted(options.node, MCP_SERVER) : absolute(options.server),
      FORGEJO_URL: forgejo.url,
      FORGEJO_CLIENT_ID: clientId,
      FORGEJO_CLIENT_SECRET: clientSecret,
    },
    (path) => readFileSync(path, 'utf8'),
  );
  if ('problems' in loaded) throw new StartProblem(loaded.problems.join('\n'));
  return loaded;
}

function encryptionKey(file: string, random: Randomness): string {
  if (!existsSync(file)) writeFileSync(file, random(32).toString('base64'), { mode: 0o600 });
  return readFileSync(file, 'utf8');
}

function quoted(...words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
}

/** Children start in a folder of their own, so a file named relative to here is spelt out. */
function absolute(commandLine: string): string {
  return commandLine.replace(/[^\s'"]+/g, (word) =>
    word.includes('/') && existsSync(word) ? quoted(resolve(word)) : word,
  );
}

function announce({ json, print }: DemoOptions, publicUrl: string, forgejo: StandInForgejo): void {
  const mcpUrl = `${publicUrl}/mcp`;
  const users = forgejo.users.map(({ login, password }) => ({ login, password }));
  if (json) {
    print(`${JSON.stringify({ mcpUrl, forgejoUrl: forgejo.url, users })}\n`);
    return;
  }
  const people = users.map(({ login, password }) => `  ${login.padEnd(8)} password ${password}`).join('\n');
  print(`
The broker is ready.

MCP URL:            ${mcpUrl}
Stand-in Forgejo:   ${forgejo.url}
${people}

Connect with one of these and sign in as alice or bob when the browser opens:

  Claude Code       claude mcp add --transport http forgejo ${mcpUrl}
  MCP Inspector     npx @modelcontextprotocol/inspector --server-url ${mcpUrl} --transport http
  mcp-remote        npx mcp-remote ${mcpUrl}

Press Ctrl-C to end everything.
`);
}
