/** How the benchmark holds its figures against what is wanted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Figure } from './figures.js';
import { goalsTable } from './goals.js';

const figure = (name: string, target: string, unit: Figure['unit'], rounds: readonly number[]): Figure => ({
  name,
  target,
  unit,
  rounds,
  median: rounds[0] ?? 0,
});
const SMALL = 'small, 8 connections: throughput';

test('throughput is compared round by round, with the bare relay and with the better of the peers', () => {
  const table = goalsTable([
    figure(SMALL, 'broker', 'requests/s', [700, 70, 900]),
    figure(SMALL, 'broker, modern', 'requests/s', [500, 50, 500]),
    figure(SMALL, 'relay', 'requests/s', [1000, 100, 1000]),
    figure(SMALL, 'supergateway', 'requests/s', [100, 5, 100]),
    figure(SMALL, 'mcp-proxy', 'requests/s', [50, 10, 50]),
  ]);
  assert.deepEqual(table?.split('\n').slice(2), [
    "| 8 connections: throughput, of the better peer's | at least 6 times | 7.00 | 5.00 (not met) | 10.00 |",
    "| 8 connections: throughput, of the bare relay's | at least 0.60 | 0.70 | 0.50 (not met) | 1.00 |",
  ]);
});

test('latency is what the broker adds', () => {
  const p50 = 'small, 1 connections: p50';
  const table = goalsTable([
    figure(p50, 'broker', 'µs', [500, 600, 400]),
    figure(p50, 'relay', 'µs', [400, 400, 100]),
  ]);
  assert.equal(
    table?.split('\n').at(-1),
    '| 1 connection: p50 over the bare relay | under 150 µs | 200.00 (not met) |  | 0.00 |',
  );
});

test('of what is measured with more and more rows the worst counts', () => {
  const check = 'bearer check, from memory';
  const table = goalsTable([
    figure(check, '10 sleeping sessions', 'µs', [2]),
    figure(check, '100000 rows in each table', 'µs', [3]),
    figure('initialize, known handshake', 'supergateway', 'ms', [9]),
  ]);
  assert.equal(table?.split('\n').at(-1), '| bearer check, from memory | under 20 µs | 3.00 |  |  |');
});

test('what was not measured is left out', () => {
  assert.equal(goalsTable([]), undefined);
});
