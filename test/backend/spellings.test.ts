/** Where a spelled text may stand is found without looking at every byte, and is never missed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Spellings } from '../../src/backend/spellings.js';

test('the runs of known characters that are found are all that are long enough, whole', () => {
  // Of the alphabet, and not: runs of every length, at every distance.
  const piece = fc.oneof(
    fc.constant(' '),
    fc.string({ unit: fc.constantFrom('z', '7', '%'), maxLength: 12 }),
  );
  const text = fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join(''));
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 15 }), (line, least) => {
      const found: string[] = [];
      new Spellings(['z']).findRuns(Buffer.from(line), least, (start, end) =>
        found.push(line.slice(start, end)),
      );
      assert.deepEqual(
        found,
        line.split(' ').filter(({ length }) => length >= least),
      );
    }),
    { numRuns: 1000 },
  );
});
