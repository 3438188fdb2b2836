/** `fjmcp-broker serve`: the broker as its environment says, until it is told to stop. */
import type { Clock } from '../base/clock.js';
import type { Environment, ReadFile } from '../base/environment.js';
import type { Randomness } from '../base/ids.js';
import { startBroker } from '../broker.js';
import { loadConfig } from '../config.js';

export interface ServeOptions {
  readonly env: Environment;
  readonly readFile: ReadFile;
  readonly complain: (text: string) => void;
  readonly now: Clock;
  readonly random: Randomness;
}

/** Whether the configuration can be meant; if so, settles after `stopped` has, with everything closed. */
export async function runServe(options: ServeOptions, stopped: Promise<unknown>): Promise<boolean> {
  const { env, readFile, complain, now, random } = options;
  const loaded = loadConfig(env, readFile);
  if ('problems' in loaded) {
    complain(`The configuration has ${loaded.problems.length} problem(s):\n`);
    for (const problem of loaded.problems) complain(`  ${problem}\n`);
    return false;
  }
  const stop = new AbortController();
  const ending = stopped.then(() => stop.abort());
  const starting = startBroker(loaded, { now, random, stop: stop.signal });
  // A start that waits for Forgejo must not hold up a stop.
  const broker = await Promise.race([starting, ending]);
  if (broker === undefined) return true;
  await using _broker = broker;
  await stopped;
  return true;
}
