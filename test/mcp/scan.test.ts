/** The scanner sees what JSON.parse sees, without parsing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { skipSpace } from '../../src/mcp/json.js';
import { elementsOf, membersOf, type Span, textAt } from '../../src/mcp/scan.js';
import { idText, objectWith, stringText, valueText } from '../fixtures/json-text.js';

const valueAt = (bytes: Buffer, span: Span | undefined): unknown =>
  span === undefined ? undefined : JSON.parse(bytes.toString('utf8', span.start, span.end));

test('the members it finds are the members JSON.parse finds, however they are spelled', () => {
  fc.assert(
    fc.property(objectWith({ id: idText, method: stringText, params: valueText }), (text) => {
      const bytes = Buffer.from(text);
      const at = skipSpace(bytes, 0);
      const scanned = membersOf(bytes, at, ['id', 'method', 'params', 'result']);
      assert.ok(typeof scanned === 'object', `${scanned}`);
      const { members, end } = scanned;
      const parsed = JSON.parse(text);
      for (const name of ['id', 'method', 'params', 'result'] as const) {
        assert.deepEqual(valueAt(bytes, members[name]), parsed[name]);
      }
      assert.equal(skipSpace(bytes, end), bytes.length);
      assert.deepEqual(members.method && textAt(bytes, members.method), parsed.method);
    }),
    { numRuns: 500 },
  );
});

test('the elements it finds are the elements JSON.parse finds', () => {
  fc.assert(
    fc.property(fc.array(valueText, { maxLength: 6 }), (values) => {
      const bytes = Buffer.from(`[ ${values.join(' ,\n')} ]`);
      const spans = elementsOf(bytes, 0, 10);
      assert.ok(Array.isArray(spans));
      assert.deepEqual(
        spans.map((span) => valueAt(bytes, span)),
        JSON.parse(bytes.toString()),
      );
    }),
  );
});

test('it ends on any bytes at all, and never reads past them', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 200 }),
        fc.string().map((text) => Buffer.from(`{"id":${text}`)),
      ),
      (any) => {
        const bytes = Buffer.from(any);
        const scanned = membersOf(bytes, skipSpace(bytes, 0), ['id']);
        assert.ok(typeof scanned === 'string' || scanned.end <= bytes.length);
        const spans = elementsOf(bytes, 0, 3);
        assert.ok(
          typeof spans === 'string' || spans.every(({ start, end }) => start < end && end <= bytes.length),
        );
      },
    ),
  );
});

test('a name that must be unique and is not is a fault, in whatever spelling', () => {
  for (const text of ['{"id":1,"id":1}', '{"id":1,"\\u0069d":2}', '{"i\\u0064":1,"x":0,"id":2}']) {
    assert.equal(membersOf(Buffer.from(text), 0, ['id']), 'duplicate', text);
  }
  assert.ok(typeof membersOf(Buffer.from('{"x":1,"x":2,"id":3}'), 0, ['id']) === 'object');
});

test('nesting costs no stack, and size costs no parsing', () => {
  const deep = Buffer.from(`{"x":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)},"id":7}`);
  const scanned = membersOf(deep, 0, ['id']);
  assert.ok(typeof scanned === 'object');
  assert.equal(valueAt(deep, scanned.members.id), 7);
});

test('a string may end in any number of backslashes', () => {
  for (let backslashes = 0; backslashes < 200; backslashes += 1) {
    const value = `${'x'.repeat(70)}${'\\'.repeat(backslashes)}`;
    const bytes = Buffer.from(JSON.stringify({ long: value, quoted: `${value}"`, id: backslashes }));
    const scanned = membersOf(bytes, 0, ['id']);
    assert.ok(typeof scanned === 'object');
    assert.equal(valueAt(bytes, scanned.members.id), backslashes);
  }
});
