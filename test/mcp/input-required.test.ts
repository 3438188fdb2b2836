/** What a server asks in the midst of a call is asked inside its result, and answered inside the same call made again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  answerFor,
  inputRequired,
  isResponseTo,
  parametersOf,
  readInput,
} from '../../src/mcp/input-required.js';
import { messageOf, modernRequest, modernText, readModern } from '../fixtures/modern.js';

function ask(key: string, text: string) {
  const request = messageOf(text);
  assert.ok(request.kind === 'request');
  return { key, request };
}

test('requests of the server stand in the result under their keys, with parameters as they came', () => {
  const answer = inputRequired(
    '"i"',
    [
      ask('k1', '{"jsonrpc":"2.0","id":5,"method":"elicitation/create","params":{"message":"ü","n":1.0}}'),
      ask('k2', '{"jsonrpc":"2.0","id":6,"method":"roots/list"}'),
    ],
    'state "1"',
    { serverInfo: '{"name":"s"}' },
  );
  assert.equal(
    answer.toString(),
    '{"jsonrpc":"2.0","id":"i","result":{"resultType":"input_required","inputRequests":{' +
      '"k1":{"method":"elicitation/create","params":{"message":"ü","n":1.0}},"k2":{"method":"roots/list"}},' +
      '"requestState":"state \\"1\\"","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}}',
  );
});

test('a result may ask for nothing but to come again', () => {
  const answer = inputRequired('1', [], 's', { serverInfo: undefined });
  assert.equal(
    answer.toString(),
    '{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","requestState":"s"}}',
  );
});

const INPUTS: readonly (readonly [
  what: string,
  params: string,
  keys: readonly string[] | 'fault',
  state?: string,
])[] = [
  ['nothing', '', []],
  ['a state', ',"requestState":"s"', [], 's'],
  ['responses', ',"inputResponses":{"a":{},"b":{"x":1}}', ['a', 'b']],
  ['both', ',"inputResponses":{"a":{}},"requestState":"\\u0073"', ['a'], 's'],
  [
    'a key that objects inherit',
    ',"inputResponses":{"__proto__":{},"constructor":{}}',
    ['__proto__', 'constructor'],
  ],
  ['a state that is no string', ',"requestState":{}', 'fault'],
  ['responses that are null', ',"inputResponses":null', 'fault'],
  ['responses that are a list', ',"inputResponses":[{}]', 'fault'],
  ['a response that is a number', ',"inputResponses":{"a":12345}', 'fault'],
  ['a key twice', ',"inputResponses":{"a":{},"\\u0061":{}}', 'fault'],
  [
    'more responses than anybody asks for',
    `,"inputResponses":{${Array.from({ length: 101 }, (_, i) => `"${i}":{}`).join(',')}}`,
    'fault',
  ],
];

for (const [what, params, keys, state] of INPUTS) {
  test(`a call that brings ${what}`, () => {
    const text = modernText('tools/call', { name: 't' }).replace('"name":"t"', `"name":"t"${params}`);
    const input = readInput(readModern(text));
    if ('fault' in input) {
      assert.equal(input.fault.code, -32602);
      assert.equal(keys, 'fault');
      return;
    }
    assert.deepEqual([...input.responses.keys()], keys);
    assert.equal(input.requestState, state);
  });
}

const RESPONSES: readonly (readonly [method: string, response: string, fits: boolean])[] = [
  ['elicitation/create', '{"action":"accept","content":{}}', true],
  ['elicitation/create', '{"action":"cancel"}', true],
  ['elicitation/create', '{"action":"maybe"}', false],
  ['elicitation/create', '{"content":{}}', false],
  ['elicitation/create', '{"action":"accept","action":"decline"}', false],
  ['sampling/createMessage', '{"role":"assistant","content":{},"model":"m"}', true],
  ['sampling/createMessage', '{"action":"accept"}', false],
  ['roots/list', '{"roots":[]}', true],
  ['roots/list', '{"roots":{}}', false],
  ['roots/list', '{}', false],
  ['ping', '{}', false],
];

for (const [method, response, fits] of RESPONSES) {
  test(`${response} is ${fits ? 'a' : 'no'} result of ${method}`, () => {
    const bytes = Buffer.from(response);
    assert.equal(isResponseTo(method, bytes, { start: 0, end: bytes.length }), fits);
  });
}

test('the server gets the answer as a line under its own id, in the bytes of the client', () => {
  const request = readModern(
    modernText('tools/call', { name: 't' }).replace(
      '"name":"t"',
      '"name":"t","inputResponses":{"k":{"action":"accept",\n"content":{"n":12345678901234567890,"t":"ü"}}}',
    ),
  );
  const input = readInput(request);
  assert.ok(!('fault' in input));
  const response = input.responses.get('k');
  assert.ok(response !== undefined);
  assert.equal(
    answerFor('"q\\u00fc"', request.message.bytes, response).toString(),
    '{"jsonrpc":"2.0","id":"q\\u00fc","result":{"action":"accept", "content":{"n":12345678901234567890,"t":"ü"}}}\n',
  );
});

test('a call and its retry have the same parameters, whatever else differs', () => {
  const digest = (params: object) =>
    Buffer.concat(parametersOf(modernRequest('tools/call', params))).toString();
  const first = digest({ name: 't', arguments: { a: 1 }, _meta: { progressToken: 1 } });
  const retry = { name: 't', inputResponses: { k: {} }, arguments: { a: 1 }, requestState: 's' };
  assert.equal(digest({ ...retry, _meta: { progressToken: 2 } }), first);
  assert.equal(digest({ inputResponses: {}, requestState: 's', name: 't', arguments: { a: 1 } }), first);
  assert.notEqual(digest({ ...retry, arguments: { a: 2 } }), first);
  assert.notEqual(digest({ ...retry, name: 'u' }), first);
  assert.notEqual(digest({ ...retry, more: 1 }), first);
});
