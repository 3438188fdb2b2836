/** A secret does not leave in any form it is written in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createRedactor } from '../../src/backend/redact.js';
import { Secret } from '../../src/base/secret.js';

const redacted = (secret: string, line: string) =>
  createRedactor(new Secret(secret))(Buffer.from(line)).toString();

test('each form of a secret is replaced, each time it occurs', () => {
  const secret = 'a/b+c="d';
  const forms = [secret, 'a/b+c=\\"d', 'a\\/b+c=\\"d', 'a%2Fb%2Bc%3D%22d', 'a%2fb%2bc%3d%22d'];
  for (const form of forms)
    assert.equal(redacted(secret, `<${form}|${form}>`), '<[redacted]|[redacted]>', form);
});

test('a line without the secret is passed as it is', () => {
  const line = Buffer.from([0xff, 0x00, 0x41]);
  assert.equal(createRedactor(new Secret('a-long-secret'))(line), line);
});

test('whatever stands around a secret, the secret is gone', () => {
  const secret = 'eyJhbGciOiJSUzI1NiJ9.payload.signature';
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.string(), fc.constant(secret))), (parts) => {
      assert.ok(!redacted(secret, parts.join('')).includes(secret));
    }),
  );
});

test('a text too short to be a token blanks nothing out', () => {
  assert.equal(redacted('', 'abc'), 'abc');
  assert.equal(redacted('abc', 'abc'), 'abc');
});
