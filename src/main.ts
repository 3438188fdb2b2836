#!/usr/bin/env node
/** The command line: arguments to a command, signals to its end, an exit code. Only here is the environment read. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { startBroker } from './broker.js';
import { NOUNS, runAdmin } from './cli/admin.js';
import { runDemo } from './cli/demo.js';
import type { Noun } from './cli/desk.js';
import { runDoctor } from './cli/doctor.js';
import { CommandProblem, refusing, UsageProblem } from './cli/problems.js';
import { loadConfig } from './config.js';
import { StartProblem } from './start.js';

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

const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

const readFile = (path: string) => readFileSync(path, 'utf8');
const print = (text: string) => void process.stdout.write(text);

async function main(argv: readonly string[]): Promise<number> {
  const [command, ...args] = argv;
  const noun = command !== undefined && Object.hasOwn(NOUNS, command) ? NOUNS[command] : undefined;
  if (noun !== undefined) return admin(noun, args);
  switch (args.includes('--help') ? 'help' : command) {
    case 'serve':
      if (args.length > 0) throw new UsageProblem('serve takes no options, but environment variables');
      return serve();
    case 'demo':
      return demo(args);
    case 'doctor':
      return doctor(args);
    case 'version':
    case '--version':
      print(`${version()}\n`);
      return EXIT.ok;
    case 'help':
    case '--help':
    case '-h':
      print(USAGE);
      return EXIT.ok;
    case undefined:
      process.stderr.write(USAGE);
      return EXIT.usage;
    default:
      throw new UsageProblem(`there is no command "${command}"`);
  }
}

async function serve(): Promise<number> {
  const stop = new AbortController();
  const stopped = signalled().then(() => stop.abort());
  const loaded = loadConfig(process.env, readFile);
  if ('problems' in loaded) {
    process.stderr.write(`The configuration has ${loaded.problems.length} problem(s):\n`);
    for (const problem of loaded.problems) process.stderr.write(`  ${problem}\n`);
    return EXIT.usage;
  }
  const starting = startBroker(loaded, { now: Date.now, random: randomBytes, stop: stop.signal });
  // A start that waits for Forgejo must not hold up a stop.
  const broker = await Promise.race([starting, stopped.then(() => undefined)]);
  if (broker === undefined) return EXIT.ok;
  await using _broker = broker;
  await stopped;
  return EXIT.ok;
}

async function admin(noun: Noun, args: readonly string[]): Promise<number> {
  // Whoever reads us, such as head, may have read enough; any other failure to write is one.
  process.stdout.on('error', (error) =>
    process.exit('code' in error && error.code === 'EPIPE' ? EXIT.ok : EXIT.failed),
  );
  await runAdmin(noun, args, { env: process.env, readFile, print, now: Date.now, random: randomBytes });
  return EXIT.ok;
}

async function doctor(args: readonly string[]): Promise<number> {
  const { values } = refusing(() =>
    parseArgs({ args: [...args], options: { json: { type: 'boolean', default: false } } }),
  );
  const isWell = await runDoctor({
    json: values.json,
    env: process.env,
    readFile,
    print,
    now: Date.now,
    random: randomBytes,
  });
  return isWell ? EXIT.ok : EXIT.failed;
}

async function demo(args: readonly string[]): Promise<number> {
  const stopped = signalled();
  const values = parseDemoArgs([...args]);
  await runDemo(
    {
      port: parsePort('--port', values.port),
      forgejoPort: parsePort('--forgejo-port', values['forgejo-port']),
      data: values.data,
      server: values.server,
      json: values.json,
      path: process.env.PATH,
      env: Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('BROKER_'))),
      node: process.execPath,
      print,
      now: Date.now,
      random: randomBytes,
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

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** Settles at the first signal that asks for an end; the same one again ends the process at once. */
function signalled(): Promise<unknown> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, resolve);
  });
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

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
    // Whatever still holds the event loop must not hold the operator.
    setTimeout(() => process.exit(code), 1000).unref();
  },
  (error: unknown) => {
    process.stderr.write(`fjmcp-broker: ${describeFailure(error)}\n`);
    process.exit(error instanceof UsageProblem ? EXIT.usage : EXIT.failed);
  },
);
