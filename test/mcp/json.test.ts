/** The grammar agrees with JSON.parse about what is JSON, and costs no memory to find out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isJson, MAX_DEPTH } from '../../src/mcp/json.js';
import { valueText } from '../fixtures/json-text.js';

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

test('every JSON text is JSON', () => {
  fc.assert(
    fc.property(valueText, (text) => isJson(Buffer.from(` ${text}\n`))),
    { numRuns: 500 },
  );
});

test('a text with something cut out, put in or changed is JSON if JSON.parse says so', () => {
  const piece = fc.oneof(
    fc.constantFrom(...'{}[],:"\\-+.eE0123456789truefalsn \n/\u0001ux'),
    fc.string({ maxLength: 2 }),
  );
  const edit = fc.record({ at: fc.nat(), remove: fc.nat(2), insert: fc.array(piece, { maxLength: 2 }) });
  fc.assert(
    fc.property(valueText, fc.array(edit, { minLength: 1, maxLength: 3 }), (original, edits) => {
      let text = original;
      for (const { at, remove, insert } of edits) {
        const from = at % (text.length + 1);
        text = text.slice(0, from) + insert.join('') + text.slice(from + remove);
      }
      // What cannot be said in UTF-8 never reaches us as text.
      const bytes = Buffer.from(text);
      assert.equal(isJson(bytes), parses(bytes.toString()), text);
    }),
    { numRuns: 5000 },
  );
});

test('short texts over the alphabet of JSON are JSON if JSON.parse says so', () => {
  const alphabet = fc.constantFrom(...'{}[],:"\\-+.eE01 ntu', 'true', 'false', 'null', '"a"', '\\u00e9');
  fc.assert(
    fc.property(fc.array(alphabet, { maxLength: 7 }), (parts) => {
      const text = parts.join('');
      assert.equal(isJson(Buffer.from(text)), parses(text), text);
    }),
    { numRuns: 20_000 },
  );
});

test('what is not UTF-8, a byte order mark, and nothing at all are refused', () => {
  for (const bytes of [[0x22, 0xff, 0x22], [0xef, 0xbb, 0xbf, 0x31], [0x22, 0xed, 0xa0, 0x80, 0x22], []]) {
    assert.equal(isJson(Buffer.from(bytes)), false);
  }
  assert.equal(isJson(Buffer.from('"\\ud800"')), true, 'a lone surrogate written as an escape is JSON');
});

test('nesting is limited, and no text of the largest size takes long', () => {
  const nested = (depth: number) => Buffer.from('['.repeat(depth) + ']'.repeat(depth));
  assert.equal(isJson(nested(MAX_DEPTH)), true);
  assert.equal(isJson(nested(MAX_DEPTH + 1)), false);
  const size = 16 * 1024 * 1024;
  for (const text of ['['.repeat(size), `[${'{},'.repeat(size / 3)}1]`, `"${'\\n'.repeat(size / 2)}"`]) {
    const bytes = Buffer.from(text);
    const before = process.cpuUsage();
    isJson(bytes);
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 10_000_000, `${text.slice(0, 8)}…: ${user + system} µs`);
  }
});
