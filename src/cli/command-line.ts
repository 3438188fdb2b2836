/**
 * The command line: arguments to a command and its exit code, a failure to what the person at the terminal is told.
 * Touches no process; a command is loaded when it is asked for, because most need little of the broker.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Clock } from '../base/clock.js';
import type { Environment, ReadFile } from '../base/environment.js';
import type { Randomness } from '../base/ids.js';
import { StartProblem } from '../base/start-problem.js';
import type { NounName } from './admin.js';
import { CommandProblem, refusing, UsageProblem } from './problems.js';

const USAGE = `usage: fjmcp-broker <command>

  serve      run the broker; configured by environment variables (see docs/configuration.md)
  demo       run everything on this computer: broker, a stand-in Forgejo, a small MCP server
               --port N            port of the broker (default 8080; 0 = any)
               --forgejo-port M    port of the stand-in Forgejo (default 3000; 0 = any)
               --data DIR          keep the state in DIR (default: a temporary folder)
               --server "CMD ARGS" another stdio MCP server as the child
               --json              print one JSON line when ready instead of text
  clients    the OAuth clients: list, show, add, revoke
  grants     which user let which client in: list, show, revoke
  users      who has signed in: list, show, revoke
  audit      what happened: list, show
               these four work while the broker runs, read BROKER_DATABASE alone, print JSON
               with --json, and say more with --help
  doctor     check what serve needs, and say what to mend; changes nothing, works while the broker runs
               --json              print one JSON document
  version    print the version
  help       print this
`;

export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What a command may use of the process that it runs in. */
export interface CommandEdge {
  readonly env: Environment;
  /** The Node.js program that runs us. */
  readonly node: string;
  readonly readFile: ReadFile;
  /** To stdout, and to stderr. */
  readonly print: (text: string) => void;
  readonly complain: (text: string) => void;
  /** Asked for once, by a command that ends in order; what it gives settles when it is to end. */
  readonly stopped: () => Promise<unknown>;
  readonly now: Clock;
  readonly random: Randomness;
}

/** Never throws: what went wrong is told to `complain`. */
export async function runCommandLine(argv: readonly string[], edge: CommandEdge): Promise<ExitCode> {
  try {
    return await run(argv, edge);
  } catch (error) {
    edge.complain(`fjmcp-broker: ${describeFailure(error)}\n`);
    return error instanceof UsageProblem ? EXIT.usage : EXIT.failed;
  }
}

async function run([command, ...args]: readonly string[], edge: CommandEdge): Promise<ExitCode> {
  switch (command) {
    case 'clients':
    case 'grants':
    case 'users':
    case 'audit':
      return admin(command, args, edge);
  }
  switch (args.includes('--help') ? 'help' : command) {
    case 'serve':
      return serve(args, edge);
    case 'demo':
      return demo(args, edge);
    case 'doctor':
      return doctor(args, edge);
    case 'version':
    case '--version':
      edge.print(`${version(edge.readFile)}\n`);
      return EXIT.ok;
    case 'help':
    case '--help':
    case '-h':
      edge.print(USAGE);
      return EXIT.ok;
    case undefined:
      edge.complain(USAGE);
      return EXIT.usage;
    default:
      throw new UsageProblem(`there is no command "${command}"`);
  }
}

async function admin(noun: NounName, args: readonly string[], edge: CommandEdge): Promise<ExitCode> {
  const { runAdmin } = await import('./admin.js');
  await runAdmin(noun, args, edge);
  return EXIT.ok;
}

async function serve(args: readonly string[], edge: CommandEdge): Promise<ExitCode> {
  if (args.length > 0) throw new UsageProblem('serve takes no options, but environment variables');
  const stopped = edge.stopped();
  const { runServe } = await import('./serve.js');
  return (await runServe(edge, stopped)) ? EXIT.ok : EXIT.usage;
}

async function doctor(args: readonly string[], edge: CommandEdge): Promise<ExitCode> {
  const { values } = refusing(() =>
    parseArgs({ args: [...args], options: { json: { type: 'boolean', default: false } } }),
  );
  const { runDoctor } = await import('./doctor.js');
  return (await runDoctor({ ...edge, json: values.json })) ? EXIT.ok : EXIT.failed;
}

async function demo(args: readonly string[], edge: CommandEdge): Promise<ExitCode> {
  const { env, node, print, now, random } = edge;
  const values = parseDemoArgs([...args]);
  const [port, forgejoPort] = [
    parsePort('--port', values.port),
    parsePort('--forgejo-port', values['forgejo-port']),
  ];
  const stopped = edge.stopped();
  const { runDemo } = await import('./demo.js');
  await runDemo(
    {
      port,
      forgejoPort,
      data: values.data,
      server: values.server,
      json: values.json,
      path: env.PATH,
      env: Object.fromEntries(Object.entries(env).filter(([name]) => name.startsWith('BROKER_'))),
      node,
      print,
      now,
      random,
    },
    stopped,
  );
  return EXIT.ok;
}

function parseDemoArgs(args: string[]) {
  const { values } = refusing(() =>
    parseArgs({
      args,
      options: {
        port: { type: 'string', default: '8080' },
        'forgejo-port': { type: 'string', default: '3000' },
        data: { type: 'string' },
        server: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    }),
  );
  return values;
}

function parsePort(option: string, text: string): number {
  const value = Number(text);
  if (!/^\d{1,5}$/.test(text) || value > 65_535)
    throw new UsageProblem(`${option}: "${text}" is no port number`);
  return value;
}

function version(readFile: ReadFile): string {
  const file = fileURLToPath(new URL('../../../package.json', import.meta.url));
  return (JSON.parse(readFile(file)) as { version: string }).version;
}

/** What the caller or the system is the cause of is a line; what we are the cause of shows where it broke. */
function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof UsageProblem)
    return error.usage === undefined
      ? `${error.message} (--help lists what there is)`
      : `${error.message}\n\n${error.usage.trimEnd()}`;
  const told = error instanceof StartProblem || error instanceof CommandProblem;
  return told || 'syscall' in error ? error.message : (error.stack ?? error.message);
}
