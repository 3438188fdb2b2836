/** A server that keeps ending is started less and less often. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { afterCrash, NO_CRASHES } from '../../src/backend/crashes.js';

test('two quick ends are forgiven, then each costs twice the wait of the one before, up to a minute', () => {
  let crashes = NO_CRASHES;
  const waits: number[] = [];
  for (let i = 0; i < 12; i += 1) {
    crashes = afterCrash(crashes, 1000, 1000);
    waits.push(Math.max(0, crashes.retryAt - 1000));
  }
  assert.deepEqual(
    waits,
    [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60].map((seconds) => seconds * 1000),
  );
});

test('a child that lived for a minute starts the count anew', () => {
  const crashes = afterCrash({ count: 9, retryAt: 5 }, 0, 60_000);
  assert.deepEqual(crashes, { count: 1, retryAt: 0 });
});
