import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { printable, withoutTrailingSlashes } from '../../src/base/text.js';

test('slashes are taken from the end only, and all of them', () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(50), (text, count) => {
      const cut = withoutTrailingSlashes(text + '/'.repeat(count));
      assert.equal(cut.endsWith('/'), false);
      assert.ok((text + '/'.repeat(count)).startsWith(cut));
    }),
  );
});

test('a long run of slashes in the middle costs no more than its length', () => {
  const text = `${'/'.repeat(5_000_000)}x`;
  assert.equal(withoutTrailingSlashes(text), text);
});

test('a name cannot hide, turn around or steer a terminal', () => {
  assert.equal(printable(' \u202eevil\u200b\u001b[2J '), 'evil[2J');
  assert.equal(printable('\u200b\u2060'), '');
});
