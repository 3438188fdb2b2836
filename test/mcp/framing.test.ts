/** Lines come out whole, whatever the chunks they came in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { LineSplitter } from '../../src/mcp/framing.js';

function split(chunks: readonly Buffer[], maxBytes = 1000): { lines: string[]; overlong: number } {
  const lines: string[] = [];
  let overlong = 0;
  const splitter = new LineSplitter(maxBytes, {
    line: (line) => lines.push(line.toString()),
    overlong: () => {
      overlong += 1;
    },
  });
  for (const chunk of chunks) splitter.push(chunk);
  splitter.flush();
  return { lines, overlong };
}

/** First, while there is no garbage of other tests that could go away meanwhile. */
test('a line that comes byte by byte costs not much more than its bytes', () => {
  const before = memory();
  const splitter = new LineSplitter(10_000_000, { line: () => undefined, overlong: () => undefined });
  for (let i = 0; i < 500_000; i += 1) splitter.push(Buffer.from('x'));
  const grown = memory() - before;
  splitter.flush();
  assert.ok(grown < 20_000_000, `${grown} bytes`);
});

test('however the bytes are cut, the lines are the same', () => {
  const line = fc.string({ unit: 'binary' }).map((text) =>
    Buffer.from(text)
      .toString()
      .replace(/[\r\n]/g, ''),
  );
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.nat(60)), (lines, cuts) => {
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
      const chunks: Buffer[] = [];
      let from = 0;
      for (const cut of cuts) {
        chunks.push(bytes.subarray(from, from + cut));
        from += cut;
      }
      chunks.push(bytes.subarray(from));
      assert.deepEqual(split(chunks).lines, lines);
    }),
  );
});

test('a carriage return before the line feed belongs to the line break', () => {
  assert.deepEqual(split([Buffer.from('a\r'), Buffer.from('\nb\n\r\n')]).lines, ['a', 'b', '']);
});

test('an overlong line is skipped and told once, and the next line is read', () => {
  const chunks = ['x'.repeat(6), 'x'.repeat(600), 'x\nab', 'c\n', 'x'.repeat(11), '\nd'].map((text) =>
    Buffer.from(text),
  );
  assert.deepEqual(split(chunks, 10), { lines: ['abc', 'd'], overlong: 2 });
  assert.deepEqual(split([Buffer.from(`${'x'.repeat(10)}\n`)], 10), { lines: ['x'.repeat(10)], overlong: 0 });
});

test('an overlong line at the end of the stream leaves no line behind', () => {
  assert.deepEqual(split([Buffer.from('x'.repeat(11))], 10), { lines: [], overlong: 1 });
});

test('a long line in many chunks costs time in proportion to its length', () => {
  const chunk = Buffer.alloc(1024, 'x');
  const started = process.cpuUsage();
  const { lines } = split([...Array.from({ length: 64 * 1024 }, () => chunk), Buffer.from('\n')], 1e9);
  const { user, system } = process.cpuUsage(started);
  assert.equal(lines[0]?.length, 64 * 1024 * 1024);
  assert.ok(user + system < 20_000_000, `${user + system} µs`);
});

function memory(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
