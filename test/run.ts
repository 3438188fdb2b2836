/**
 * Runs the compiled tests with Node's own runner, one process a file, and one more at a time than there are cores, because
 * a third of a test's time is waiting: for a child, a disk, a connection that ends.
 * Arguments pick files whose path contains one of them: `npm test -- oauth house`.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** With more of them a machine's memory, or a test that measures time, would be the next to be short. */
const MOST_AT_A_TIME = 4;

const here = dirname(fileURLToPath(import.meta.url));
const wanted = process.argv.slice(2);
const files = readdirSync(here, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.js'))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .sort()
  .map((file) => join(here, file));

if (files.length === 0) {
  process.stderr.write(`no test file matches ${wanted.join(' ')}\n`);
  process.exit(1);
}
const atATime = Math.min(availableParallelism() + 1, MOST_AT_A_TIME);
const { status } = spawnSync(
  process.execPath,
  ['--test', `--test-concurrency=${atATime}`, '--test-timeout=180000', '--test-reporter=spec', ...files],
  { stdio: 'inherit' },
);
process.exit(status ?? 1);
