/** What a modern client asks, a legacy server is asked: without the envelope, and otherwise in the client's own bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splice } from '../../src/mcp/message.js';
import { initializeFor, toLegacyRequest } from '../../src/mcp/modern-to-legacy.js';
import { modernRequest, readModern } from '../fixtures/modern.js';

const ENVELOPE =
  '"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}';
const request = (params: string) => `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":${params}}`;

const REQUESTS: readonly (readonly [what: string, modern: string, legacy: string])[] = [
  ['only the envelope', `{"_meta":{${ENVELOPE}}}`, '{"_meta":{}}'],
  [
    'a progress token, and names of others',
    `{"_meta":{"progressToken":1,${ENVELOPE},"a/b":2.0}}`,
    '{"_meta":{"progressToken":1,"a/b":2.0}}',
  ],
  ['them after the envelope', `{"_meta":{${ENVELOPE},"traceparent":"x"}}`, '{"_meta":{"traceparent":"x"}}'],
  [
    'them before the envelope',
    `{"_meta":{"traceparent":"x" , ${ENVELOPE} }}`,
    '{"_meta":{"traceparent":"x"  }}',
  ],
  [
    'them between, with white space',
    `{ "_meta" : { "io.modelcontextprotocol/protocolVersion" : "2026-07-28" ,\n"a":1 , "io.modelcontextprotocol/clientCapabilities" : {} } }`,
    '{ "_meta" : { "a":1  } }',
  ],
  [
    'the whole of an envelope',
    `{"_meta":{"io.modelcontextprotocol/clientInfo":{},${ENVELOPE},"io.modelcontextprotocol/logLevel":"info"}}`,
    '{"_meta":{}}',
  ],
  ['an envelope spelled with escapes', `{"_meta":{${ENVELOPE.replace('io.', '\\u0069o.')}}}`, '{"_meta":{}}'],
  [
    'answers, and a state, first',
    `{"inputResponses":{"a":{}},"requestState":"s","x":1,"_meta":{${ENVELOPE}}}`,
    '{"x":1,"_meta":{}}',
  ],
  [
    'answers, and a state, last',
    `{"_meta":{${ENVELOPE}},"x":1,"inputResponses":{"a":{}},"requestState":"s"}`,
    '{"_meta":{},"x":1}',
  ],
  [
    'answers, and a state, around',
    `{"requestState":"s","_meta":{${ENVELOPE}},"inputResponses":{}}`,
    '{"_meta":{}}',
  ],
  [
    'names of the same kind where they mean nothing',
    `{"arguments":{"_meta":{${ENVELOPE}},"requestState":"s"},"_meta":{${ENVELOPE}}}`,
    `{"arguments":{"_meta":{${ENVELOPE}},"requestState":"s"},"_meta":{}}`,
  ],
];

for (const [what, modern, legacy] of REQUESTS) {
  test(`a request with ${what}`, () => {
    const { bytes, edits } = toLegacyRequest(readModern(request(modern)));
    assert.equal(splice(bytes, edits ?? []).toString(), request(legacy));
  });
}

test('what a legacy server is not told goes together with what the bridge changes, wherever that stands', () => {
  const text = `{"params":{"_meta":{${ENVELOPE},"progressToken":"t"}},"method":"tools/list","id":"i","jsonrpc":"2.0"}`;
  const { bytes, edits = [], id, token } = toLegacyRequest(readModern(text));
  assert.ok(token !== undefined);
  const own = [id, token].map((at) => ({ at, raw: '7' }));
  assert.equal(
    splice(bytes, [...own, ...edits]).toString(),
    '{"params":{"_meta":{"progressToken":7}},"method":"tools/list","id":7,"jsonrpc":"2.0"}',
  );
});

const BROKER = { id: '"broker"', clientInfo: '{"name":"broker","version":"0"}' };
const initialize = (own: object) =>
  JSON.parse(initializeFor(modernRequest('tools/list', { _meta: own }).envelope, BROKER).toString());

test('a client is introduced to a legacy server in the newest legacy version, by its own name', () => {
  assert.deepEqual(
    initialize({
      'io.modelcontextprotocol/clientCapabilities': { sampling: {}, roots: { listChanged: true }, x: {} },
      'io.modelcontextprotocol/clientInfo': { name: 'ü', version: '1', title: 't' },
    }),
    {
      jsonrpc: '2.0',
      id: 'broker',
      method: 'initialize',
      params: {
        protocolVersion: '2025-11-25',
        capabilities: { sampling: {}, roots: {} },
        clientInfo: { name: 'ü', version: '1', title: 't' },
      },
    },
  );
});

for (const [what, clientInfo] of [
  ['no info', undefined],
  ['no name', { version: '1' }],
  ['no version', { name: 'a' }],
  ['a name that is no string', { name: 1, version: '1' }],
] as const) {
  test(`a client with ${what} is introduced by the broker's name`, () => {
    assert.deepEqual(initialize({ 'io.modelcontextprotocol/clientInfo': clientInfo }).params.clientInfo, {
      name: 'broker',
      version: '0',
    });
  });
}

test('clients that a legacy server cannot tell apart are introduced in the same words', () => {
  const of = (capabilities: object) =>
    initializeFor(
      modernRequest('tools/list', { _meta: { 'io.modelcontextprotocol/clientCapabilities': capabilities } })
        .envelope,
      BROKER,
    ).toString();
  assert.equal(of({ roots: { listChanged: true } }), of({ roots: {} }));
  assert.notEqual(of({ sampling: {} }), of({}));
});
