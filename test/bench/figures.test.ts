/** The arithmetic of the benchmark; what it measures is nobody's test. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare, type Figure, Figures, medianOf, type Report, tableOf } from './figures.js';

const figure = (name: string, target: string, unit: Figure['unit'], median: number): Figure => ({
  name,
  target,
  unit,
  median,
  rounds: [median],
});
const report = (...figures: readonly Figure[]): Report => ({ machine: {}, figures });

test('a median is the middle, or between the two in the middle', () => {
  assert.equal(medianOf([3, 1, 2]), 2);
  assert.equal(medianOf([4, 1, 3, 2]), 2.5);
});

test('rounds of one measure of one target are one figure', () => {
  const figures = new Figures();
  for (const value of [1, 5, 3]) figures.add('latency', 'broker', 'µs', value);
  figures.add('latency', 'relay', 'µs', 7);
  assert.deepEqual(figures.all, [
    { name: 'latency', target: 'broker', unit: 'µs', rounds: [1, 5, 3], median: 3 },
    { name: 'latency', target: 'relay', unit: 'µs', rounds: [7], median: 7 },
  ]);
});

test('a table shows the first target beside the others, and its ratio to each', () => {
  const figures = [
    figure('small', 'broker', 'requests/s', 1000),
    figure('small', 'relay', 'requests/s', 2000),
  ];
  assert.equal(
    tableOf(figures, ['broker', 'relay']),
    '|  | broker | relay | broker / relay |\n| --- | --- | --- | --- |\n| small (requests/s) | 1,000 | 2,000 | 0.50 |',
  );
});

test('more than a fifth worse is told: less throughput, more time, more memory', () => {
  const before = report(
    figure('a', 'broker', 'requests/s', 1000),
    figure('b', 'broker', 'µs', 100),
    figure('c', 'broker', 'KB', 100),
  );
  const now = report(
    figure('a', 'broker', 'requests/s', 800),
    figure('b', 'broker', 'µs', 150),
    figure('c', 'broker', 'KB', 121),
  );
  assert.deepEqual(compare(before, now).worse, [
    'broker: a: 1000.00 -> 800.00 requests/s (25 % worse)',
    'broker: b: 100.00 -> 150.00 µs (50 % worse)',
    'broker: c: 100.00 -> 121.00 KB (21 % worse)',
  ]);
});

test('what is better or about the same is not told', () => {
  const before = report(figure('a', 'broker', 'requests/s', 1000), figure('b', 'broker', 'µs', 100));
  const now = report(figure('a', 'broker', 'requests/s', 900), figure('b', 'broker', 'µs', 50));
  assert.deepEqual(compare(before, now), { worse: [], compared: 2, missing: [] });
});

test('what comes to nothing is worse, and what only one run measured is named', () => {
  const before = report(figure('a', 'broker', 'requests/s', 1000), figure('b', 'broker', 'µs', 100));
  const now = report(figure('a', 'broker', 'requests/s', 0), figure('c', 'broker', 'ms', 9));
  assert.deepEqual(compare(before, now), {
    worse: ['broker: a: 1000.00 -> 0.00 requests/s (worse beyond measure)'],
    compared: 1,
    missing: ['broker: b', 'broker: c'],
  });
});
