/** What a legacy server says, a modern client is told: with what the era adds, and otherwise in the server's own bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isJson } from '../../src/mcp/json.js';
import {
  destinationOf,
  discoverResult,
  elicitationsIn,
  readGreeting,
  statusOf,
  toModernAnswer,
} from '../../src/mcp/legacy-to-modern.js';
import { levelOf, mostVerbose, wants } from '../../src/mcp/log-levels.js';
import { messageOf } from '../fixtures/modern.js';

const INFO = '{"name":"s","version":"1"}';
const SERVER = { serverInfo: INFO, ttlMs: 0 };
const KEY = '"io.modelcontextprotocol/serverInfo"';
const META = `"_meta":{${KEY}:${INFO}}`;
const COMPLETE = '"resultType":"complete"';
const KEPT = '"ttlMs":0,"cacheScope":"private"';

const RESULTS: readonly (readonly [what: string, method: string, legacy: string, modern: string])[] = [
  ['an empty result', 'tools/call', '{}', `{${COMPLETE},${META}}`],
  ['an empty result with white space', 'tools/call', '{ }', `{${COMPLETE},${META} }`],
  ['a result', 'tools/call', '{"content":[],"n":1.0}', `{${COMPLETE},${META},"content":[],"n":1.0}`],
  ['a list', 'tools/list', '{"tools":[]}', `{${COMPLETE},${KEPT},${META},"tools":[]}`],
  ['a resource', 'resources/read', '{"contents":[]}', `{${COMPLETE},${KEPT},${META},"contents":[]}`],
  ['a prompt, which nobody keeps', 'prompts/get', '{"messages":[]}', `{${COMPLETE},${META},"messages":[]}`],
  [
    'a result with a _meta',
    'tools/call',
    '{"a":1,"_meta":{"b":2.0}}',
    `{${COMPLETE},"a":1,"_meta":{${KEY}:${INFO},"b":2.0}}`,
  ],
  ['a result with an empty _meta', 'tools/call', '{"_meta":{}}', `{${COMPLETE},${META}}`],
  [
    'a server that says who it is',
    'tools/call',
    `{"_meta":{${KEY}:{}}}`,
    `{${COMPLETE},"_meta":{${KEY}:{}}}`,
  ],
  ['a _meta that is no object', 'tools/call', '{"_meta":null}', `{${COMPLETE},"_meta":null}`],
  [
    'a result that claims to be an interim one',
    'tools/call',
    '{"resultType":"input_required","inputRequests":{}}',
    `{${META},"resultType":"complete","inputRequests":{}}`,
  ],
  [
    'a list that says how it may be kept, by whom',
    'tools/list',
    '{"ttlMs":9,"cacheScope":"public","tools":[]}',
    `{${COMPLETE},${META},"ttlMs":0,"cacheScope":"private","tools":[]}`,
  ],
  [
    'members of those names where they mean nothing',
    'tools/call',
    '{"ttlMs":9}',
    `{${COMPLETE},${META},"ttlMs":9}`,
  ],
  ['a result that is no object', 'tools/call', '[1]', '[1]'],
  ['a result that is null', 'tools/call', 'null', 'null'],
  [
    'a result with two of what must be one',
    'tools/call',
    '{"_meta":{},"_meta":{}}',
    '{"_meta":{},"_meta":{}}',
  ],
];

const answer = (result: string) => `{"result":${result},"id":"i","jsonrpc":"2.0"}`;

for (const [what, method, legacy, modern] of RESULTS) {
  test(`${what}, to a modern client`, () => {
    const translated = toModernAnswer(method, Buffer.from(answer(legacy)), SERVER).toString();
    assert.equal(translated, answer(modern));
    assert.ok(isJson(Buffer.from(translated)));
  });
}

test('a server that never said who it is is not named; an entry may let its lists be kept', () => {
  const translated = toModernAnswer('tools/list', Buffer.from(answer('{"tools":[]}')), {
    serverInfo: undefined,
    ttlMs: 60_000,
  });
  assert.deepEqual(JSON.parse(translated.toString()).result, {
    resultType: 'complete',
    ttlMs: 60_000,
    cacheScope: 'private',
    tools: [],
  });
});

const error = (code: string) =>
  `{"jsonrpc":"2.0","id":1,"error":{"message":"-32002","code":${code},"data":{"code":-32002}}}`;
const ERRORS: readonly (readonly [legacy: string, modern: string, status: number])[] = [
  ['-32002', '-32602', 200],
  ['-32042', '-32603', 200],
  ['-32602', '-32602', 200],
  ['-32601', '-32601', 404],
  ['-32021', '-32021', 400],
  ['-32000', '-32000', 200],
  ['"-32002"', '"-32002"', 200],
];

for (const [legacy, modern, status] of ERRORS) {
  test(`the error ${legacy} of a legacy server is ${modern} with ${status}`, () => {
    const translated = toModernAnswer('resources/read', Buffer.from(error(legacy)), SERVER).toString();
    assert.equal(translated, error(modern));
    assert.equal(statusOf(Buffer.from(translated)), status);
  });
}

test('an error is told from a result by what its name means, not by how it is written', () => {
  const escaped = '{"jsonrpc":"2.0","id":1,"\\u0065rror":{"\\u0063ode":-32601,"message":""}}';
  assert.equal(statusOf(Buffer.from(escaped)), 404);
});

test('a result is 200, whatever is in it', () => {
  assert.equal(statusOf(Buffer.from('{"jsonrpc":"2.0","id":1,"result":{"error":{"code":-32601}}}')), 200);
});

test('visits that a legacy server demands by an error are requests for them', () => {
  const message = messageOf(
    '{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"","data":{"elicitations":[{"mode":"url","url":"https://x/","n":1.0},7]}}}',
  );
  assert.ok(message.kind === 'response');
  assert.deepEqual(
    elicitationsIn(message).map(({ method, bytes, params }) => [
      method,
      params && bytes.toString('utf8', params.start, params.end),
    ]),
    [['elicitation/create', '{"mode":"url","url":"https://x/","n":1.0}']],
  );
  for (const text of [error('-32042'), error('-32602'), answer('{"error":{"code":-32042}}')]) {
    const other = messageOf(text);
    assert.ok(other.kind === 'response');
    assert.deepEqual(elicitationsIn(other), []);
  }
});

const greet = (result: unknown) =>
  readGreeting(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, result })));

test('a client discovers what the server said when it was initialized', () => {
  const greeting = greet({
    protocolVersion: '2025-11-25',
    serverInfo: { name: 'sérver', version: '1' },
    capabilities: { tools: { listChanged: true }, tasks: {}, logging: {}, resources: { subscribe: true } },
    instructions: 'do "this"',
  });
  assert.ok(greeting !== undefined);
  assert.deepEqual(JSON.parse(Buffer.from(discoverResult(greeting, 5), 'latin1').toString()), {
    resultType: 'complete',
    supportedVersions: ['2026-07-28'],
    capabilities: { tools: { listChanged: true }, logging: {}, resources: { subscribe: true } },
    instructions: 'do "this"',
    ttlMs: 5,
    cacheScope: 'private',
    _meta: { 'io.modelcontextprotocol/serverInfo': { name: 'sérver', version: '1' } },
  });
});

test('a server that said little is discovered all the same; one that refused is not', () => {
  const greeting = greet({ instructions: 1, capabilities: [], serverInfo: 'me' });
  assert.ok(greeting !== undefined);
  assert.deepEqual(JSON.parse(discoverResult(greeting, 0)), {
    resultType: 'complete',
    supportedVersions: ['2026-07-28'],
    capabilities: {},
    ttlMs: 0,
    cacheScope: 'private',
  });
  assert.equal(greet(7), undefined);
  assert.equal(readGreeting(Buffer.from('{"jsonrpc":"2.0","id":1,"error":{}}')), undefined);
  assert.equal(readGreeting(Buffer.from('not JSON')), undefined);
});

test('a notification goes where the era has a place for it', () => {
  const rows = [
    ['notifications/progress', 'request'],
    ['notifications/message', 'request'],
    ['notifications/tools/list_changed', 'subscription'],
    ['notifications/prompts/list_changed', 'subscription'],
    ['notifications/resources/list_changed', 'subscription'],
    ['notifications/resources/updated', 'subscription'],
    ['notifications/cancelled', 'nowhere'],
    ['notifications/elicitation/complete', 'nowhere'],
    ['notifications/tasks/status', 'nowhere'],
    ['__proto__', 'nowhere'],
  ] as const;
  for (const [method, destination] of rows) {
    const message = messageOf(JSON.stringify({ jsonrpc: '2.0', method }));
    assert.ok(message.kind === 'notification');
    assert.equal(destinationOf(message), destination, method);
  }
});

test('a log message is for requests that asked for its level or a more verbose one', () => {
  const level = (params: object) => {
    const message = messageOf(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/message', params }));
    assert.ok(message.kind === 'notification');
    return levelOf(message);
  };
  assert.equal(level({ level: 'error', data: 1 }), 'error');
  assert.equal(level({ level: 'ERROR' }), undefined);
  assert.equal(level({}), undefined);
  assert.ok(wants('warning', 'error') && wants('warning', 'warning') && wants('debug', 'emergency'));
  assert.ok(!wants('warning', 'info') && !wants(undefined, 'emergency') && !wants('debug', undefined));
});

test('a child is as talkative as the request that wants most', () => {
  assert.equal(mostVerbose(['error', undefined, 'info', 'alert']), 'info');
  assert.equal(mostVerbose([undefined]), undefined);
  assert.equal(mostVerbose([]), undefined);
});
