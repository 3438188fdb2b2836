/** The era of a message is decided at the door, and a modern request is what its headers say, or refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { classify } from '../../src/mcp/envelope.js';
import { readMessage } from '../../src/mcp/message.js';
import { CLIENT_INFO, headersOf, messageOf, meta } from '../fixtures/modern.js';

const VERSION = 'io.modelcontextprotocol/protocolVersion';
const CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities';
const INFO = 'io.modelcontextprotocol/clientInfo';
const LEVEL = 'io.modelcontextprotocol/logLevel';

type Headers = Readonly<Record<string, string | undefined>>;
const RIGHT: Headers = {
  'mcp-protocol-version': '2026-07-28',
  'mcp-method': 'tools/call',
  'mcp-name': 'echo',
};

const textOf = (method: string, params: unknown) => JSON.stringify({ jsonrpc: '2.0', id: 7, method, params });
const call = (own: object = {}, params: object = {}) =>
  textOf('tools/call', { name: 'echo', arguments: {}, ...params, _meta: meta({ ...own }) });

const classified = (text: string, headers: Headers) => classify(messageOf(text), headersOf(headers));

/** In one word: the era, or the status and code of the refusal. */
function verdict(text: string, headers: Headers): string {
  const found = classified(text, headers);
  return found.is === 'refused' ? `${found.status} ${found.error.code}` : found.is;
}

const LEGACY: Headers = { 'mcp-protocol-version': '2025-11-25', 'mcp-session-id': 's' };
const PING = textOf('ping', undefined);

const ERAS: readonly (readonly [what: string, text: string, headers: Headers, era: string])[] = [
  [
    'a request of a session',
    textOf('tools/call', { name: 'echo', _meta: { progressToken: 1 } }),
    LEGACY,
    'legacy',
  ],
  ['initialize', textOf('initialize', { protocolVersion: '2025-11-25' }), {}, 'legacy'],
  ['a request without a version', PING, { 'mcp-session-id': 's' }, 'legacy'],
  ['a request without anything', PING, {}, 'legacy'],
  ['a legacy request with modern headers', PING, { ...LEGACY, 'mcp-method': 'x', 'mcp-name': 'y' }, 'legacy'],
  [
    'a version that nobody knows, before the modern one',
    PING,
    { 'mcp-protocol-version': '2026-01-01' },
    'legacy',
  ],
  ['a version that is no date', PING, { 'mcp-protocol-version': 'v999.0.0' }, 'legacy'],
  ['a legacy notification', '{"jsonrpc":"2.0","method":"notifications/initialized"}', LEGACY, 'legacy'],
  ['a legacy answer', '{"jsonrpc":"2.0","id":1,"result":{}}', LEGACY, 'legacy'],
  ['a modern request', call(), RIGHT, 'modern request'],
  [
    'its version is what counts, even in a session',
    call(),
    { ...RIGHT, 'mcp-session-id': 's' },
    'modern request',
  ],
  ['the version spelled with escapes', call().replace('io.model', '\\u0069o.model'), RIGHT, 'modern request'],
  [
    'the version spelled with escapes only',
    call().replace(VERSION, [...VERSION].map((c) => `\\u00${c.charCodeAt(0).toString(16)}`).join('')),
    RIGHT,
    'modern request',
  ],
  ['a modern request that says it is legacy', call(), { ...RIGHT, ...LEGACY }, 'modern request'],
  ['a modern header without an envelope', PING, { ...RIGHT, 'mcp-method': 'ping' }, '400 -32602'],
  ['a modern header over initialize', textOf('initialize', {}), RIGHT, '400 -32602'],
  [
    'a notification of the modern era',
    '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
    { 'mcp-protocol-version': '2026-07-28' },
    'modern notification',
  ],
  [
    'a notification of a later era',
    '{"jsonrpc":"2.0","method":"notifications/cancelled"}',
    { 'mcp-protocol-version': '2027-01-01' },
    '400 -32022',
  ],
  [
    'an answer, which a modern client never posts',
    '{"jsonrpc":"2.0","id":1,"result":{}}',
    { 'mcp-protocol-version': '2026-07-28' },
    '400 -32600',
  ],
];

for (const [what, text, headers, era] of ERAS) {
  test(`era: ${what} is ${era}`, () => assert.equal(verdict(text, headers), era));
}

const as = (version: string): Headers => ({ ...RIGHT, 'mcp-protocol-version': version });
const without = (name: string): Headers => ({ ...RIGHT, [name]: undefined });
const named = (name: string): Headers => ({ ...RIGHT, 'mcp-name': name });
const encoded = (text: string) => `=?base64?${Buffer.from(text).toString('base64')}?=`;
const asked = (method: string): Headers => ({ ...RIGHT, 'mcp-method': method });

const CHECKS: readonly (readonly [what: string, text: string, headers: Headers, verdict: string])[] = [
  ['no params', textOf('tools/list', undefined), RIGHT, '400 -32602'],
  ['params that are no object', textOf('tools/list', [1]), RIGHT, '400 -32602'],
  ['no _meta', textOf('tools/call', { name: 'echo' }), RIGHT, '400 -32602'],
  ['a _meta that is no object', textOf('tools/call', { name: 'echo', _meta: null }), RIGHT, '400 -32602'],
  ['no version', call({ [VERSION]: undefined }), RIGHT, '400 -32602'],
  ['a version that is no string', call({ [VERSION]: 20260728 }), RIGHT, '400 -32602'],
  ['a version of any length', call({ [VERSION]: 'v'.repeat(1000) }), as('v'.repeat(1000)), '400 -32602'],
  ['no capabilities', call({ [CAPABILITIES]: undefined }), RIGHT, '400 -32602'],
  ['capabilities that are no object', call({ [CAPABILITIES]: ['sampling'] }), RIGHT, '400 -32602'],
  ['no client info', call({ [INFO]: undefined }), RIGHT, 'modern request'],
  ['client info that is no object', call({ [INFO]: 'me' }), RIGHT, '400 -32602'],
  ['client info of any size', call({ [INFO]: { name: 'x'.repeat(70_000) } }), RIGHT, '400 -32602'],
  ['a log level', call({ [LEVEL]: 'warning' }), RIGHT, 'modern request'],
  ['a log level that is none', call({ [LEVEL]: 'loud' }), RIGHT, '400 -32602'],
  ['a log level of everybody', call({ [LEVEL]: 'constructor' }), RIGHT, '400 -32602'],
  [
    'one envelope member twice',
    call().replace('"_meta":{', `"_meta":{"${CAPABILITIES}":{},`),
    RIGHT,
    '400 -32600',
  ],
  ['one parameter twice', call().replace('"name":', '"name":"rm","name":'), RIGHT, '400 -32600'],
  [
    'one parameter twice, once with escapes',
    call().replace('"name":', '"n\\u0061me":"rm","name":'),
    RIGHT,
    '400 -32600',
  ],

  ['no version header', call(), without('mcp-protocol-version'), '400 -32020'],
  ['a version header that is not the version', call({ [VERSION]: 'v999' }), RIGHT, '400 -32020'],
  ['a header of an unknown version', call(), as('2026-01-01'), '400 -32020'],
  ['a header of a later version', call(), as('2027-01-01'), '400 -32020'],
  ['a legacy header over a later version', call({ [VERSION]: '2027-01-01' }), as('2025-11-25'), '400 -32020'],
  ['an unknown version on both sides', call({ [VERSION]: 'v999' }), as('v999'), '400 -32022'],
  ['a legacy version on both sides', call({ [VERSION]: '2025-11-25' }), as('2025-11-25'), '400 -32022'],

  ['no method header', call(), without('mcp-method'), '400 -32020'],
  ['another method', call(), asked('tools/list'), '400 -32020'],
  ['the method in capitals', call(), asked('TOOLS/CALL'), '400 -32020'],
  ['the method in Base64, which only values are', call(), asked(encoded('tools/call')), '400 -32020'],
  ['no name header', call(), without('mcp-name'), '400 -32020'],
  ['another name', call(), named('rm'), '400 -32020'],
  ['the name in capitals', call(), named('ECHO'), '400 -32020'],
  ['the name in Base64', call(), named(encoded('echo')), 'modern request'],
  ['another name in Base64', call(), named(encoded('rm')), '400 -32020'],
  [
    'the name in Base64 without its padding',
    call({}, { name: 'echo' }),
    named('=?base64?ZWNobw?='),
    '400 -32020',
  ],
  ['a name beyond ASCII', call({}, { name: 'écho' }), named(encoded('écho')), 'modern request'],
  ['a name beyond ASCII as it is', call({}, { name: 'écho' }), named('écho'), '400 -32020'],
  ['a name written with escapes', call().replace('"echo"', '"\\u0065cho"'), RIGHT, 'modern request'],
  ['an empty name', call({}, { name: '' }), named(encoded('')), 'modern request'],
  ['no name in the body', call({}, { name: undefined }), RIGHT, '400 -32602'],
  ['a name that is no string', call({}, { name: ['echo'] }), RIGHT, '400 -32602'],
  [
    'a uri',
    textOf('resources/read', { uri: 'x:/', name: 'other', _meta: meta() }),
    { ...asked('resources/read'), 'mcp-name': 'x:/' },
    'modern request',
  ],
  [
    'a name where the uri counts',
    textOf('resources/read', { uri: 'x:/', name: 'echo', _meta: meta() }),
    asked('resources/read'),
    '400 -32020',
  ],
  [
    'a list, which has no name',
    textOf('tools/list', { _meta: meta() }),
    { ...asked('tools/list'), 'mcp-name': undefined },
    'modern request',
  ],
  ...[
    'initialize',
    'ping',
    'logging/setLevel',
    'resources/subscribe',
    'resources/unsubscribe',
    'tasks/list',
    '__proto__',
  ].map(
    (method) =>
      [`the method ${method}`, textOf(method, { _meta: meta() }), asked(method), '404 -32601'] as const,
  ),
  ['an unknown method, and no header', textOf('nope', { _meta: meta() }), asked('tools/list'), '400 -32020'],
];

for (const [what, text, headers, expected] of CHECKS) {
  test(`a modern request with ${what}: ${expected}`, () => assert.equal(verdict(text, headers), expected));
}

test('the first check that fails is the one that is told', () => {
  const broken = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'x' };
  const body = (own: object) => textOf('nope', { _meta: meta({ ...own }) });
  assert.equal(verdict(body({ [CAPABILITIES]: undefined, [VERSION]: 'v9' }), broken), '400 -32602');
  assert.equal(verdict(body({ [VERSION]: 'v9' }), broken), '400 -32020');
  assert.equal(verdict(body({ [VERSION]: 'v9' }), { ...broken, 'mcp-protocol-version': 'v9' }), '400 -32022');
  assert.equal(verdict(body({}), broken), '400 -32020');
  assert.equal(verdict(body({}), { ...broken, 'mcp-method': 'nope' }), '404 -32601');
});

test('an unsupported version is answered with what is supported, and with what was asked for', () => {
  const found = classified(call({ [VERSION]: 'v999.0.0' }), as('v999.0.0'));
  assert.ok(found.is === 'refused');
  assert.deepEqual(found.error.data, { supported: ['2026-07-28'], requested: 'v999.0.0' });
});

test('a known legacy version in the header is tolerated, and told', () => {
  for (const [version, tolerated] of [
    ['2025-11-25', true],
    ['2024-11-05', true],
    ['2026-07-28', false],
  ] as const) {
    const found = classified(call(), as(version));
    assert.ok(found.is === 'modern request');
    assert.equal(found.request.tolerated, tolerated);
  }
});

test('what leaves the door says what the client is, in its own bytes', () => {
  const text = call({ [LEVEL]: 'notice', [CAPABILITIES]: { sampling: { n: 1 } } })
    .replace('"n":1', '"n":1.0')
    .replace('a client', '\\u0061 client ü');
  const found = classified(text, RIGHT);
  assert.ok(found.is === 'modern request');
  const { envelope, name, message } = found.request;
  assert.equal(name, 'echo');
  assert.equal(message.bytes.toString(), text);
  assert.deepEqual(envelope, {
    version: '2026-07-28',
    clientInfo: Buffer.from('{"name":"\\u0061 client ü","version":"1"}').toString('latin1'),
    capabilities: '{"sampling":{"n":1.0}}',
    logLevel: 'notice',
  });
  assert.equal(CLIENT_INFO.name, 'a client');
});

test('a legacy message costs one look at one header', () => {
  const looked: string[] = [];
  const message = readMessage(
    Buffer.from(textOf('tools/call', { name: 'echo', _meta: { progressToken: 1 } })),
  );
  assert.ok(message.kind === 'request');
  classify(message, (name) => {
    looked.push(name);
    return '2025-11-25';
  });
  assert.deepEqual(looked, ['mcp-protocol-version']);
});
