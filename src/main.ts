#!/usr/bin/env node
/** The command line: arguments to a command, signals to an AbortSignal, an exit code. Only here is `process` read. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { StartProblem, startBroker } from './broker.js';
import { runDemo } from './cli/demo.js';
import { loadConfig } from './config.js';

const USAGE = `usage: fjmcp-broker <command>

  serve      run the broker; configured by environment variables (see docs/configuration.md)
  demo       run everything on this computer: broker, a stand-in Forgejo, a small MCP server
               --port N            port of the broker (default 8080; 0 = any)
               --forgejo-port M    port of the stand-in Forgejo (default 3000; 0 = any)
               --data DIR          keep the state in DIR (default: a temporary folder)
               --server "CMD ARGS" another stdio MCP server as the child
               --json              print one JSON line when ready instead of text
  version    print the version
`;

const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

async function main(argv: readonly string[]): Promise<number> {
  const [command, ...args] = argv;
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort());
  switch (command) {
    case 'serve':
      return serve(stop.signal);
    case 'demo':
      return demo(args, stop.signal);
    case 'version':
      process.stdout.write(`${version()}\n`);
      return EXIT.ok;
    default:
      process.stderr.write(USAGE);
      return command === 'help' ? EXIT.ok : EXIT.usage;
  }
}

async function serve(stop: AbortSignal): Promise<number> {
  const loaded = loadConfig(process.env, (path) => readFileSync(path, 'utf8'));
  if ('problems' in loaded) {
    process.stderr.write(`The configuration has ${loaded.problems.length} problem(s):\n`);
    for (const problem of loaded.problems) process.stderr.write(`  ${problem}\n`);
    return EXIT.usage;
  }
  await using _broker = await startBroker(loaded, { now: Date.now, random: randomBytes });
  await aborted(stop);
  return EXIT.ok;
}

async function demo(args: readonly string[], stop: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: 'string', default: '8080' },
      'forgejo-port': { type: 'string', default: '3000' },
      data: { type: 'string' },
      server: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  await using _demo = await runDemo({
    port: port(values.port),
    forgejoPort: port(values['forgejo-port']),
    data: values.data,
    server: values.server,
    json: values.json,
    path: process.env['PATH'],
    env: Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('BROKER_'))),
    node: process.execPath,
    print: (text) => process.stdout.write(text),
    now: Date.now,
    random: randomBytes,
  });
  await aborted(stop);
  return EXIT.ok;
}

function port(text: string): number {
  const value = Number(text);
  if (!/^\d{1,5}$/.test(text) || value > 65_535) throw new TypeError(`"${text}" is not a port number`);
  return value;
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
    // Whatever still holds the event loop must not hold the operator.
    setTimeout(() => process.exit(code), 1000).unref();
  },
  (error: unknown) => {
    const usage =
      error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
    const known = usage || error instanceof StartProblem;
    process.stderr.write(
      `fjmcp-broker: ${error instanceof Error ? (known ? error.message : error.stack) : error}\n`,
    );
    process.exit(usage ? EXIT.usage : EXIT.failed);
  },
);
