#!/usr/bin/env node
/** The program: what `cli/command-line.ts` may use of its process, and its exit code. Only here is the environment read. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { EXIT, runCommandLine } from './cli/command-line.js';

// Whoever reads us, such as head, may have read enough; any other failure to write is one.
process.stdout.on('error', (error) =>
  process.exit('code' in error && error.code === 'EPIPE' ? EXIT.ok : EXIT.failed),
);

const code = await runCommandLine(process.argv.slice(2), {
  env: process.env,
  node: process.execPath,
  readFile: (path) => readFileSync(path, 'utf8'),
  print: (text) => void process.stdout.write(text),
  complain: (text) => void process.stderr.write(text),
  stopped: signalled,
  now: Date.now,
  random: randomBytes,
});
process.exitCode = code;
// Whatever still holds the event loop must not hold the operator.
setTimeout(() => process.exit(code), 1000).unref();

/** Settles at the first signal that asks for an end; the same one again ends the process at once. */
function signalled(): Promise<unknown> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, resolve);
  });
}
