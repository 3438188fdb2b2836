/** The timers that a broker sets while it starts, so that a test can let their time come. */
import assert from 'node:assert/strict';
import { mock } from 'node:test';

export interface Intervals {
  /** Lets the time of everything come that is done every so many milliseconds. */
  run(everyMs: number): Promise<void>;
}

/** What `start` starts, and the timers it set. */
export async function withIntervals<T>(start: () => Promise<T>): Promise<readonly [T, Intervals]> {
  const timers = mock.method(globalThis, 'setInterval');
  const started = await start();
  const set = timers.mock.calls.map((call) => call.arguments);
  timers.mock.restore();
  const run = async (everyMs: number) => {
    const due = set.filter(([, every]) => every === everyMs);
    assert.ok(due.length > 0, `nothing is done every ${everyMs} ms`);
    for (const [task] of due) task();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return [started, { run }];
}
