/** Messages are told apart, and pass with nothing but their ids and tokens changed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isJson, MAX_DEPTH } from '../../src/mcp/json.js';
import {
  blankBreaks,
  type Edit,
  lineOf,
  rawAt,
  readBatch,
  readCheckedMessage,
  readMessage,
  splice,
  spliceInPlace,
} from '../../src/mcp/message.js';
import { errorAnswer, resultAnswer } from '../../src/mcp/protocol.js';
import { idText, objectWith, stringText, valueText } from '../fixtures/json-text.js';

const VERSION = fc.constantFrom('"2.0"', '"\\u0032.0"');
const request = objectWith({
  jsonrpc: VERSION,
  id: idText,
  method: fc.constant('"tools/call"'),
  params: objectWith({ _meta: objectWith({ progressToken: idText }) }),
});
const progress = objectWith({
  jsonrpc: VERSION,
  method: fc.constant('"notifications/progress"'),
  params: objectWith({ progressToken: idText }),
});
const response = objectWith({ jsonrpc: VERSION, id: idText, result: valueText });

/** What is ours to change in a message. */
function placesOf(bytes: Buffer) {
  const message = readMessage(bytes);
  assert.ok(message.kind !== 'invalid', message.kind === 'invalid' ? message.why : '');
  if (message.kind === 'response') return [message.id];
  if (message.kind === 'notification') return message.subject === undefined ? [] : [message.subject];
  return message.token === undefined ? [message.id] : [message.id, message.token];
}

test('a message rewritten and rewritten back is the message, byte for byte', () => {
  fc.assert(
    fc.property(fc.oneof(request, progress, response), fc.nat(), (text, key) => {
      const bytes = Buffer.from(text);
      const places = placesOf(bytes);
      assert.ok(places.length > 0);
      const away = splice(
        bytes,
        places.map((at) => ({ at, raw: `${key}` })),
      );
      assert.ok(placesOf(away).every((at) => rawAt(away, at) === `${key}`));
      const originals = places.map((at) => rawAt(bytes, at));
      const back = splice(
        away,
        placesOf(away).map((at, i): Edit => ({ at, raw: originals[i] ?? '' })),
      );
      assert.deepEqual(back, bytes);
    }),
    { numRuns: 500 },
  );
});

const LONG = 1024 * 1024;

test('a value replaced in place makes the same message as one replaced in a copy', () => {
  fc.assert(
    fc.property(response, fc.stringMatching(/^[0-9]{1,12}$/), (text, raw) => {
      const bytes = Buffer.from(text + ' '.repeat(LONG));
      const [at] = placesOf(bytes);
      assert.ok(at !== undefined);
      const copied = splice(bytes, [{ at, raw }]);
      assert.deepEqual(spliceInPlace(bytes, { at, raw }), copied);
    }),
    { numRuns: 50 },
  );
});

for (const [where, text] of [
  ['first', `{"id":1000000000,"jsonrpc":"2.0","result":"${'x'.repeat(LONG)}"}`],
  ['last', `{"jsonrpc":"2.0","result":"${'x'.repeat(LONG)}","id":1000000000}`],
] as const) {
  test(`a value that stands ${where} is replaced by a shorter one without a copy of a long message`, () => {
    const bytes = Buffer.from(text);
    const [at] = placesOf(bytes);
    assert.ok(at !== undefined);
    const replaced = spliceInPlace(bytes, { at, raw: '7' });
    assert.equal(replaced.toString(), text.replace('1000000000', '7'));
    assert.equal(replaced.buffer, bytes.buffer);
  });
}

test('what goes to a child is one line, and the same JSON', () => {
  fc.assert(
    fc.property(request, (text) => {
      const line = lineOf(Buffer.from(text));
      assert.equal(line.indexOf('\n'), line.length - 1);
      assert.equal(line.indexOf('\r'), -1);
      assert.equal(JSON.stringify(JSON.parse(line.toString())), JSON.stringify(JSON.parse(text)));
    }),
  );
});

const KINDS: readonly (readonly [string, string])[] = [
  ['{"jsonrpc":"2.0","id":1,"method":"ping"}', 'request'],
  ['{"jsonrpc":"2.0","id":"","method":"ping","extra":null}', 'request'],
  ['{"jsonrpc":"2.0","id":0,"method":"a","result":{}}', 'request'],
  ['{"jsonrpc":"2.0","method":"notifications/initialized"}', 'notification'],
  ['{"jsonrpc":"2.0","id":1,"result":{}}', 'response'],
  ['{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}', 'response'],
  ['{"jsonrpc":"2.0","id":1,"error":null,"result":0}', 'response'],
  ['{"jsonrpc":"2.0","id":null,"method":"ping"}', 'invalid'],
  ['{"jsonrpc":"2.0","id":{},"method":"ping"}', 'invalid'],
  ['{"jsonrpc":"2.0","id":true,"method":"ping"}', 'invalid'],
  ['{"jsonrpc":"2.0","id":1,"method":7}', 'invalid'],
  ['{"jsonrpc":"2.0","id":1}', 'invalid'],
  ['{"jsonrpc":"2.0","result":{}}', 'invalid'],
  ['{"jsonrpc":"1.0","id":1,"method":"ping"}', 'invalid'],
  ['{"id":1,"method":"ping"}', 'invalid'],
  ['{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', 'invalid'],
  ['{"jsonrpc":"2.0","id":1,"method":"a","m\\u0065thod":"b"}', 'invalid'],
  [
    '{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"progressToken":1,"progressToken":2}}}',
    'invalid',
  ],
  ['{"jsonrpc":"2.0","id":1,"method":"ping"} x', 'invalid'],
  ['7', 'invalid'],
  ['"2.0"', 'invalid'],
  ['', 'invalid'],
];

test('a message is a request, a notification, a response, or nothing we pass on', () => {
  for (const [text, kind] of KINDS) assert.equal(readMessage(Buffer.from(text)).kind, kind, text);
});

test('a refusal names the id it could read', () => {
  const idOf = (text: string) => {
    const message = readMessage(Buffer.from(text));
    return message.kind === 'invalid' ? message.id : 'valid';
  };
  assert.equal(idOf('{"jsonrpc":"1.0","id":"ü","method":"a"}'), Buffer.from('"ü"').toString('latin1'));
  assert.equal(idOf('{"jsonrpc":"2.0","id":[],"method":"a"}'), undefined);
});

test('progress tokens and cancelled ids are found where the protocol puts them, and only if they are ids', () => {
  const subject = (method: string, params: string) => {
    const message = readMessage(Buffer.from(`{"jsonrpc":"2.0","method":"${method}","params":${params}}`));
    return message.kind === 'notification' && message.subject && rawAt(message.bytes, message.subject);
  };
  assert.equal(subject('notifications/progress', '{"progressToken":"t"}'), '"t"');
  assert.equal(subject('notifications/cancelled', '{"requestId":1.0}'), '1.0');
  assert.equal(subject('notifications/cancelled', '{"progressToken":1}'), undefined);
  assert.equal(subject('notifications/cancelled', '{"requestId":null}'), undefined);
  assert.equal(subject('notifications/message', '{"requestId":1}'), undefined);
  const token = (params: string) => {
    const message = readMessage(Buffer.from(`{"jsonrpc":"2.0","id":1,"method":"a","params":${params}}`));
    return message.kind === 'request' && message.token && rawAt(message.bytes, message.token);
  };
  assert.equal(token('{"a":{"_meta":{"progressToken":1}},"_meta":{"x":[],"progressToken":2}}'), '2');
  for (const params of [
    '{}',
    '[]',
    '7',
    '{"_meta":null}',
    '{"_meta":{"progressToken":{}}}',
    '{"progressToken":1}',
  ]) {
    assert.equal(token(params), undefined, params);
  }
});

test('an id is short, for it is kept while its call lasts; a longer progress token is none', () => {
  const read = (id: string, token: string) =>
    readMessage(
      Buffer.from(
        JSON.stringify({ jsonrpc: '2.0', id, method: 'm', params: { _meta: { progressToken: token } } }),
      ),
    );
  const longest = 'x'.repeat(1022);
  const message = read(longest, longest);
  assert.ok(message.kind === 'request' && message.token !== undefined);
  assert.equal(read(`${longest}x`, '1').kind, 'invalid');
  const untracked = read('1', `${longest}x`);
  assert.ok(untracked.kind === 'request' && untracked.token === undefined);
});

const piece = fc.oneof(
  fc.constantFrom(...'{}[],:"\\-+.eE0123456789truefalsn \n/\u0001ux'),
  fc.string({ maxLength: 2 }),
);
const cut = fc.record({ at: fc.nat(), remove: fc.nat(2), insert: fc.array(piece, { maxLength: 2 }) });

test('a message that is checked on the way is the same, if it is JSON, however it was damaged', () => {
  const whole = fc.oneof(request, valueText);
  fc.assert(
    fc.property(whole, fc.array(cut, { maxLength: 3 }), (original, cuts) => {
      let text = original;
      for (const { at, remove, insert } of cuts) {
        const from = at % (text.length + 1);
        text = text.slice(0, from) + insert.join('') + text.slice(from + remove);
      }
      const bytes = Buffer.from(text);
      assert.deepEqual(readCheckedMessage(bytes), isJson(bytes) ? readMessage(bytes) : 'not JSON', text);
    }),
    { numRuns: 5000 },
  );
});

test('wherever a message nests, it nests as deep as any JSON may, and no deeper', () => {
  const places: readonly (readonly [before: string, after: string, levels: number])[] = [
    ['{"jsonrpc":"2.0","id":1,"method":"a","extra":', '}', 1],
    ['{"jsonrpc":"2.0","id":1,"method":"a","params":{"arguments":', '}}', 2],
    ['{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"x":', '}}}', 3],
  ];
  for (const [before, after, levels] of places) {
    const nested = (depth: number) =>
      Buffer.from(`${before}${'['.repeat(depth)}${']'.repeat(depth)}${after}`);
    const deepest = readCheckedMessage(nested(MAX_DEPTH - levels));
    assert.ok(typeof deepest === 'object' && deepest.kind === 'request');
    assert.equal(readCheckedMessage(nested(MAX_DEPTH - levels + 1)), 'not JSON');
  }
});

test('a message that is not UTF-8 is not JSON', () => {
  const bytes = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"a","params":{"a":"\u00e9"}}', 'latin1');
  assert.equal(readCheckedMessage(bytes), 'not JSON');
});

test('a batch is an array, of messages or not, up to its limit', () => {
  assert.equal(readBatch(Buffer.from(' {"jsonrpc":"2.0"}'), 2), undefined);
  assert.deepEqual(readBatch(Buffer.from('[ ]'), 2), []);
  const batch = readBatch(Buffer.from('[{"jsonrpc":"2.0","id":1,"method":"a"}, 7]'), 2);
  assert.deepEqual(Array.isArray(batch) && batch.map(({ kind }) => kind), ['request', 'invalid']);
  const long = readBatch(Buffer.from('[1,2,3]'), 2);
  assert.ok(typeof long === 'object' && !Array.isArray(long) && /at most 2/.test(long.why));
  assert.equal(readBatch(Buffer.from('[1,,2]'), 2), 'not JSON');
});

test('answers we make ourselves carry the id as it came', () => {
  fc.assert(
    fc.property(stringText, (id) => {
      const raw = Buffer.from(id).toString('latin1');
      for (const bytes of [errorAnswer(raw, { code: -1, message: 'ü' }), resultAnswer(raw, {})]) {
        assert.ok(bytes.includes(Buffer.from(id)));
        const message = readMessage(bytes);
        assert.equal(message.kind === 'response' && rawAt(bytes, message.id), raw);
      }
    }),
  );
  assert.equal(
    errorAnswer(undefined, { code: -32700, message: 'no' }).toString(),
    '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}',
  );
});

test('line breaks are blanked, and only they', () => {
  const bytes = Buffer.from('a\r\nb\n\nc\rü');
  blankBreaks(bytes);
  assert.equal(bytes.toString(), 'a  b  c ü');
});
