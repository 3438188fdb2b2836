/** A secret does not leave in any form it is written in, and nothing else is touched. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createPieceRedactor, createRedactor } from '../../src/backend/redact.js';
import { Secret } from '../../src/base/secret.js';
import { findToken, JWT, SPELLINGS, spell } from '../fixtures/spelled.js';

const PERSONAL = '41f3a9c05be27d618f90a1b2c3d4e5f60718293a';
const ODD = 'upstream-token/with+odd=characters';
/** Its base64 has both of the characters in which the two alphabets differ. */
const ODDER = 'why?~>are~?>these?>~in~?>one~~?token>~?';
const TOKENS = [JWT, PERSONAL, ODD, ODDER];

const redacted = (secret: string, line: string) =>
  createRedactor(new Secret(secret))(Buffer.from(line)).toString();

for (const [name, spelled] of Object.entries(SPELLINGS)) {
  test(`a token ${name} is removed, and the rest is the same JSON`, () => {
    for (const token of TOKENS) {
      const line = `{"a":"<${spelled(token)}>","b ${spelled(token)}":1.0}`;
      assert.ok(findToken(line, token) !== undefined, 'the test would notice it');
      const rest = redacted(token, line);
      assert.equal(findToken(rest, token), undefined, rest);
      const { a, ...b } = JSON.parse(rest);
      // In base64 a few characters of what stands before the token go with it, or stay.
      assert.match(a, /^<[\w=%+/-]*\[redacted\][\w=%+/-]*>$/);
      assert.deepEqual(Object.values(b), [1]);
      if (!name.includes('base64') && !name.includes('password')) {
        assert.equal(rest, '{"a":"<[redacted]>","b [redacted]":1.0}');
      }
    }
  });
}

test('each form of a short secret is replaced, each time it occurs', () => {
  const secret = 'a/b+c="d';
  const forms = [secret, 'a/b+c=\\"d', 'a\\/b+c=\\"d', 'a%2Fb%2Bc%3D%22d', 'a%2fb%2bc%3d%22d'];
  for (const form of forms)
    assert.equal(redacted(secret, `<${form}|${form}>`), '<[redacted]|[redacted]>', form);
  assert.equal(
    redacted('per%41cent\\u0041', '<per%41cent\\u0041|per%2541cent\\\\u0041>'),
    '<[redacted]|[redacted]>',
  );
});

const tokens = fc.oneof(
  fc.constantFrom(...TOKENS),
  fc.stringMatching(/^[\w.~+/=-]{20,80}$/),
  fc.stringMatching(/^[0-9a-f]{40}$/),
);
const choices = fc.array(fc.nat(5), { minLength: 1, maxLength: 40 }).map((given) => {
  let next = -1;
  return () => {
    next = (next + 1) % given.length;
    return given[next] ?? 0;
  };
});
const layers = fc.array(fc.constantFrom('json' as const, 'percent' as const), { maxLength: 3 });

test('any mixture of spellings of any token is removed, and what is left is the same JSON', () => {
  const text = fc.string({ unit: 'binary' }).map((one) => Buffer.from(one).toString());
  const value = fc.tuple(text, layers, choices, choices, text);
  fc.assert(
    fc.property(tokens, fc.array(value, { minLength: 1, maxLength: 4 }), (token, values) => {
      const written = values.map(([before, inner, choose, outer, after]) =>
        spell(`${before} ${spell(token, inner, choose)} ${after}`, ['json'], outer),
      );
      const rest = redacted(token, `{${written.map((one, i) => `"${i}${one}":["${one}"]`).join()}}`);
      const expected = values.map(([before, , , , after]) => `${before} [redacted] ${after}`);
      assert.deepEqual(JSON.parse(rest), Object.fromEntries(expected.map((one, i) => [`${i}${one}`, [one]])));
    }),
    { numRuns: 200 },
  );
});

test('whatever stands right beside a token, the token is gone and JSON is JSON', () => {
  const beside = fc.oneof(
    fc.string(),
    fc.constantFrom('%', '\\', '\\\\', '%4', '\\u00', '\n', '\\n', '\u0007', '"', 'eyJ', '41', 'u0041'),
  );
  fc.assert(
    fc.property(
      tokens,
      layers,
      choices,
      choices,
      beside,
      beside,
      (token, inner, choose, outer, before, after) => {
        const spelled = spell(before + spell(token, inner, choose) + after, ['json'], outer);
        const rest = redacted(token, `["${spelled}"]`);
        assert.equal(typeof JSON.parse(rest)[0], 'string');
        assert.equal(findToken(rest, token), undefined, rest);
      },
    ),
    { numRuns: 200 },
  );
});

test('a line without the secret is passed as it is, the very bytes', () => {
  const redact = createRedactor(new Secret(JWT));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      const line = Buffer.from(bytes);
      assert.equal(redact(line), line);
    }),
  );
  for (const text of [
    '%41%25\\u0041'.repeat(1000),
    'A'.repeat(5000),
    JWT.slice(0, 200),
    `${JWT.slice(0, 200)}.x`,
  ]) {
    const line = Buffer.from(text);
    assert.equal(redact(line), line);
  }
});

test('a token that is cut is removed while more than half of it is there', () => {
  for (const token of [JWT, PERSONAL]) {
    const most = Math.ceil(token.length / 2) + 8;
    for (const piece of [
      token.slice(0, most),
      token.slice(-most),
      token.slice(7, 7 + most),
      token.slice(0, -1),
    ]) {
      assert.equal(redacted(token, `"${piece}…"`), '"[redacted]…"', piece);
      assert.equal(redacted(token, `"${spell(piece, ['json'], () => 2)} x"`), '"[redacted] x"', piece);
    }
  }
});

test('a token that repeats itself is removed from its first character to its last', () => {
  for (const token of [`${'abcdefgh'.repeat(9)}!`, 'a'.repeat(40), `b${'ab'.repeat(100)}`]) {
    assert.equal(redacted(token, `"x ${token} y"`), '"x [redacted] y"');
  }
});

test('a piece that seems to begin inside an escape takes the whole escape with it', () => {
  const token = 'aaaaaaaanZ0v-Qm9aL_x7RtYw2kq3T8s';
  const cut = token.slice(9);
  for (const [line, rest] of [
    [`"x\\n${cut}"`, '"x[redacted]"'],
    [`"x\\\\n${cut}"`, '"x\\\\[redacted]"'],
    [`"x\\u000a${token.slice(8)}"`, '"x[redacted]"'],
    [`"x\\u000b${token.slice(8)}"`, '"x\\u000b[redacted]"'],
    [`"${token.slice(0, -2)}\\u00e9"`, '"[redacted]\\u00e9"'],
    [`"${token}\\"\\\\"`, '"[redacted]\\"\\\\"'],
  ] as const) {
    assert.equal(redacted(token, line), rest);
  }
  assert.equal(redacted(`${token}u0x`, `"${token}\\u00e9"`), '"[redacted]\\u00e9"');
});

test('a text too short to be a token blanks nothing out', () => {
  assert.equal(redacted('', 'abc'), 'abc');
  assert.equal(redacted('abc', 'abc'), 'abc');
  assert.equal(createPieceRedactor(new Secret('abc'))('abc'), 'abc');
});

const middle = JWT.slice(Math.floor(JWT.length / 2) - 8).slice(0, 16);
const TEASES: readonly (readonly [name: string, token: string, tease: string])[] = [
  ['all but the end', JWT, `${JWT.slice(0, -1)}!`],
  ['the middle', JWT, middle],
  ['almost the middle', JWT, `${middle.slice(0, -1)}!`],
  ['escapes without end', JWT, '%25'],
  ['half escapes', JWT, '\\u00'],
  ['backslashes', JWT, '\\'],
  ['many long runs', JWT, `%41${'a'.repeat(400)} `],
  ['escaped, all but the end', JWT, `${spell(JWT.slice(0, -1), ['json'], () => 2)}\\u0021`],
  ['many short runs', PERSONAL, '%41 '],
  ['one letter', `${'a'.repeat(300)}b`, 'a'],
  ['periods', `b${'a'.repeat(300)}`, `${'a'.repeat(30)}c`],
];
for (const [name, token, tease] of TEASES) {
  test(`16 MiB of what is nearly a token cost time in proportion to their length: ${name}`, () => {
    const redact = createRedactor(new Secret(token));
    const line = Buffer.alloc(16 * 1024 * 1024, tease);
    const started = process.cpuUsage();
    redact(line);
    const { user, system } = process.cpuUsage(started);
    // 1 µs a byte, many times what it takes; a search that starts anew at each byte would take minutes.
    assert.ok(user + system < 20_000_000, `${user + system} µs`);
  });
}

test('pieces of a token are removed from a log that wraps its lines', () => {
  const withoutPieces = createPieceRedactor(new Secret(JWT));
  fc.assert(
    fc.property(fc.integer({ min: 23, max: 100 }), fc.nat(60), (width, indent) => {
      const text = `${'x'.repeat(indent)} sha: ${JWT}] `;
      for (let from = 0; from < text.length; from += width) {
        const rest = withoutPieces(`ERROR ${text.slice(from, from + width)} client.py:17`);
        for (let i = 0; i + 15 <= rest.length; i += 1) assert.ok(!JWT.includes(rest.slice(i, i + 15)), rest);
      }
    }),
  );
  assert.equal(withoutPieces(`é ${JWT.slice(100, 140)} é`), 'é [redacted] é');
  assert.equal(withoutPieces('nothing of it'), 'nothing of it');
});
