/** Keys are fresh for ever, whatever is added and removed in between. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { InFlight } from '../../src/backend/in-flight.js';

test('it answers as a Map under ever greater keys would', () => {
  const acts = fc.array(fc.oneof(fc.constant('add' as const), fc.nat(200)), { maxLength: 400 });
  fc.assert(
    fc.property(acts, (story) => {
      const flights = new InFlight<string>();
      const model = new Map<number, string>();
      let last = 0;
      for (const act of story) {
        if (act === 'add') {
          const value = `call ${model.size}`;
          const key = flights.add(value);
          assert.ok(key > last, 'no key comes twice');
          last = key;
          model.set(key, value);
        } else {
          assert.equal(flights.remove(act), model.get(act));
          model.delete(act);
        }
        assert.equal(flights.size, model.size);
      }
      assert.deepEqual(flights.entries(), [...model]);
      for (let key = 0; key <= last + 1; key += 1) assert.equal(flights.get(key), model.get(key));
    }),
  );
});

test('a call that takes long costs those that come and go beside it nothing', () => {
  const flights = new InFlight<string>();
  const long = flights.add('long');
  let last = 0;
  for (let i = 0; i < 10_000; i += 1) {
    last = flights.add('short');
    flights.remove(last);
  }
  assert.equal(flights.get(long), 'long');
  assert.ok(last < 20_000, 'few numbers are left out');
});

for (const key of [Number.NaN, -1, 0.5, 2 ** 40 + 1, Number.POSITIVE_INFINITY]) {
  test(`${key}, which a child may say, is no key`, () => {
    const flights = new InFlight<string>();
    flights.add('one');
    assert.equal(flights.get(key), undefined);
    assert.equal(flights.remove(key), undefined);
    assert.equal(flights.size, 1);
  });
}

test('the first key may be said', () => {
  const flights = new InFlight<string>(1_000_000_000);
  const key = flights.add('one');
  assert.ok(key >= 1_000_000_000 && key < 1_000_000_004, `${key}`);
  assert.equal(flights.get(key), 'one');
});
