/** The registry: closed lists of labels, plain numbers in between, Prometheus' text at the end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics, type Metrics } from '../../src/base/metrics.js';
import { parseSeries } from '../support/scrape.js';

const COLOURS = ['red', 'green'] as const;
const seriesOf = async (metrics: Metrics) => Object.fromEntries(parseSeries(await metrics.text()));

test('a counter shows the series that were asked for, from 0 on, and only ever grows', async () => {
  const metrics = createMetrics({ ofProcess: false });
  const balls = metrics.counter('balls_total', 'Balls.', { colour: COLOURS, size: ['small', 'big'] });
  const bigRed = balls({ colour: 'red', size: 'big' });
  assert.deepEqual(await seriesOf(metrics), { 'balls_total{colour="red",size="big"}': 0 });
  bigRed.add();
  bigRed.add(41);
  assert.equal(balls({ size: 'big', colour: 'red' }), bigRed);
  for (const _scrape of [1, 2]) {
    assert.deepEqual(await seriesOf(metrics), { 'balls_total{colour="red",size="big"}': 42 });
  }
});

test('a gauge is read anew at each scrape, and what is not there any more is 0', async () => {
  const metrics = createMetrics({ ofProcess: false });
  const balls: (typeof COLOURS)[number][] = ['red', 'red'];
  metrics.gauge('balls', 'Balls.', { colour: COLOURS }, (add) => {
    for (const colour of balls) add({ colour }, 1);
  });
  assert.deepEqual(await seriesOf(metrics), { 'balls{colour="red"}': 2, 'balls{colour="green"}': 0 });
  balls.splice(0, 2, 'green');
  assert.deepEqual(await seriesOf(metrics), { 'balls{colour="red"}': 0, 'balls{colour="green"}': 1 });
});

test('a histogram counts into its buckets', async () => {
  const metrics = createMetrics({ ofProcess: false });
  const observe = metrics.histogram(
    'roll_seconds',
    'Rolls.',
    { colour: COLOURS },
    [0.1, 1],
  )({ colour: 'red' });
  assert.equal((await seriesOf(metrics))['roll_seconds_count{colour="red"}'], 0);
  observe(0.5);
  observe(3);
  assert.deepEqual(await seriesOf(metrics), {
    'roll_seconds_bucket{le="0.1",colour="red"}': 0,
    'roll_seconds_bucket{le="1",colour="red"}': 1,
    'roll_seconds_bucket{le="+Inf",colour="red"}': 2,
    'roll_seconds_sum{colour="red"}': 3.5,
    'roll_seconds_count{colour="red"}': 2,
  });
});

test('a value that is not on the list of its label is refused', () => {
  const { counter } = createMetrics({ ofProcess: false });
  const balls = counter('balls_total', 'Balls.', { colour: [...COLOURS] as string[] });
  assert.throws(() => balls({ colour: 'alice' }), /balls_total has no colour "alice"/);
});

test('the process itself is watched only when asked for', async () => {
  assert.equal(await createMetrics({ ofProcess: false }).text(), '\n');
  const text = await createMetrics({ ofProcess: true }).text();
  for (const name of [
    'process_cpu_seconds_total',
    'process_resident_memory_bytes',
    'nodejs_eventloop_lag_seconds',
  ])
    assert.match(text, new RegExp(`^${name} `, 'm'));
});
