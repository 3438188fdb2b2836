/** A flood costs its share, whatever it is made of, and a child that rests is not kept longer than that takes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as settled } from 'node:timers/promises';
import { Pace, type Rate } from '../../src/backend/pace.js';

const RATE: Rate = { bytes: 1000, lines: 100, busyMs: 50 };
const NOTHING: Rate = { bytes: 0, lines: 0, busyMs: 0 };

test('half a second of bytes, of lines or of time may be spent at once, and no more', () => {
  for (const what of ['bytes', 'lines', 'busyMs'] as const) {
    using pace = new Pace(RATE, () => 0);
    assert.equal(pace.spend({ ...NOTHING, [what]: RATE[what] / 2 }), undefined, what);
    assert.notEqual(pace.spend({ ...NOTHING, [what]: 1 }), undefined, what);
  }
});

test('what was spent is earned again by and by, and nothing is saved up', () => {
  let now = 0;
  using pace = new Pace(RATE, () => now);
  for (; now < 60_000; now += 1000) assert.equal(pace.spend({ ...NOTHING, bytes: 500 }), undefined);
  assert.notEqual(pace.spend({ ...NOTHING, bytes: 1000 }), undefined);
});

test('a child that floods gets its share of the time, also when one line takes more than that', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  for (const busyMs of [2, 20, 90]) {
    let now = 0;
    let spent = 0;
    using pace = new Pace(RATE, () => now);
    while (now < 10_000) {
      now += busyMs;
      spent += busyMs;
      let rests = true;
      const rest = pace.spend({ bytes: 1, lines: 1, busyMs });
      if (rest === undefined) continue;
      void rest.then(() => {
        rests = false;
      });
      for (; rests; now += 5) {
        t.mock.timers.tick(5);
        await settled();
      }
    }
    assert.ok(spent < 11 * RATE.busyMs + busyMs, `${spent} ms in lines of ${busyMs} ms`);
    assert.ok(spent > 9 * RATE.busyMs, `${spent} ms in lines of ${busyMs} ms`);
  }
});

test('no rest is longer than two seconds, for the machine may have been asleep', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let rests = true;
  const pace = new Pace(RATE, () => 0);
  void pace.spend({ ...NOTHING, busyMs: 60_000 })?.then(() => {
    rests = false;
  });
  for (const [ms, still] of [
    [1999, true],
    [1, false],
  ] as const) {
    t.mock.timers.tick(ms);
    await settled();
    assert.equal(rests, still);
  }
});
