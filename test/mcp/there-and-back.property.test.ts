/**
 * What crosses from one era to the other and back again is what it was: the same members in the same order, each in its
 * own bytes. What a sentence here leaves out is what belongs to an era alone. White space around members is never compared,
 * and a line break between the tokens of a message, which would end its line, is a space.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { answerFor, inputRequired, readInput } from '../../src/mcp/input-required.js';
import { isJson } from '../../src/mcp/json.js';
import { toModernAnswer } from '../../src/mcp/legacy-to-modern.js';
import { lineOf, rawAt, readMessage, valueAt } from '../../src/mcp/message.js';
import { fromChild, fromClient, type ModernChild, newModernChild } from '../../src/mcp/modern-child.js';
import { initializeFor, toLegacyRequest } from '../../src/mcp/modern-to-legacy.js';
import { BROKER_INFO, META } from '../../src/mcp/protocol.js';
import { isObjectAt } from '../../src/mcp/scan.js';
import { tagged } from '../../src/mcp/subscriptions.js';
import { idText, numberText, objectWith, stringText, valueText } from '../fixtures/json-text.js';
import { type Members, membersAt, without } from '../fixtures/members.js';
import { readModern } from '../fixtures/modern.js';

const NUM_RUNS = 300;
const BROKER = { id: '0', clientInfo: BROKER_INFO };
const ENVELOPE = [META.version, META.clientInfo, META.capabilities, META.logLevel];
const INPUT = ['inputResponses', 'requestState'];
/** Of results, what the modern era has added. */
const ADDED = ['resultType', 'ttlMs', 'cacheScope'];
const SERVER = { serverInfo: '{"name":"s"}', ttlMs: 7 };

const version = fc.constant('"2.0"');
const object = objectWith({});
/** Requests that go to the server in both eras, with what a request of their kind must have. */
const METHODS: Readonly<Record<string, Readonly<Record<string, fc.Arbitrary<string>>>>> = {
  'tools/list': {},
  'tools/call': { name: fc.constantFrom('"t"', '"\\u0074"', '"\u00fc"'), arguments: valueText },
  'prompts/get': { name: fc.constantFrom('"p"', '"\\u0070"'), arguments: object },
  'resources/read': { uri: fc.constantFrom('"x:\\/\\/y"', '"x://\u00fc"') },
  'completion/complete': { ref: object, argument: object },
};
const methods = fc.constantFrom(...Object.keys(METHODS));

/** A face of a modern child that has been greeted so, with a call under way if it is to answer one. */
function greeted(initialize: Buffer, call?: Buffer): ModernChild {
  const { state } = fromClient(newModernChild(1e6), lineOf(initialize));
  const there = fromChild(state, Buffer.from(DISCOVERED)).state;
  assert.ok(there.child !== undefined);
  return call === undefined ? there : fromClient(there, lineOf(call)).state;
}

const DISCOVERED =
  '{"jsonrpc":"2.0","id":0,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"resources":{"listChanged":true}}}}';
const INITIALIZE = Buffer.from(
  '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25",' +
    '"capabilities":{"elicitation":{},"sampling":{},"roots":{}}}}',
);
const callOf = (id: string, method: string) =>
  Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":{"name":"t"}}`, 'latin1');

/** The one message there is. */
function only(messages: readonly Buffer[]): Buffer {
  const [message, ...more] = messages;
  assert.ok(message !== undefined && more.length === 0, `${messages.length} messages`);
  assert.ok(isJson(message));
  return message;
}

const oneLine = (members: Members): Members =>
  members.map(([name, raw]) => [name, raw.replaceAll(/[\r\n]/g, ' ')] as const);

/** The members of the object there; none if there is no such thing, its bytes if it is no object. */
function within(bytes: Buffer, path: readonly string[]): Members {
  const at = valueAt(bytes, path);
  if (at === undefined) return [];
  return isObjectAt(bytes, at.start) ? membersAt(bytes, path) : [['', rawAt(bytes, at)]];
}

interface Apart {
  readonly params?: readonly string[];
  readonly result?: readonly string[];
  readonly meta: readonly string[];
}

/** `sent` arrives as `came`, apart from these members of `params` or `result`, and of the `_meta` in it. */
function assertSame(came: Buffer, sent: Buffer, holder: 'params' | 'result', apart: Apart): void {
  for (const [path, names] of [
    [[], [holder]],
    [[holder], [...(apart[holder] ?? []), '_meta']],
    [[holder, '_meta'], apart.meta],
  ] as const) {
    const [was, is] = [sent, came].map((bytes) => without(within(bytes, path), names));
    assert.deepEqual(oneLine(is ?? []), oneLine(was ?? []), path.join('.'));
  }
}

const metaText = objectWith({ progressToken: idText, traceparent: stringText, n: numberText });
const envelope = {
  [META.version]: fc.constantFrom('"2026-07-28"', '"2026\\u002d07-28"'),
  [META.capabilities]: objectWith({ sampling: object, roots: object }),
};
const modernMeta = fc.oneof(
  objectWith(envelope),
  objectWith({
    ...envelope,
    [META.clientInfo]: objectWith({ name: stringText, version: stringText }),
    [META.logLevel]: fc.constant('"info"'),
    progressToken: idText,
    traceparent: stringText,
  }),
);

const requestWith = (method: string, params: Readonly<Record<string, fc.Arbitrary<string>>>) =>
  objectWith({
    jsonrpc: version,
    id: idText,
    method: fc.constant(`"${method}"`),
    params: objectWith({ ...METHODS[method], ...params }),
  });
const modernRequest = methods.chain((method) =>
  fc.oneof(
    requestWith(method, { _meta: modernMeta }),
    requestWith(method, {
      _meta: modernMeta,
      inputResponses: objectWith({ k: object }),
      requestState: stringText,
    }),
  ),
);
const legacyRequest = fc.oneof(
  objectWith({ jsonrpc: version, id: idText, method: fc.constant('"tools/list"') }),
  methods.chain((method) => requestWith(method, {})),
  methods.chain((method) => requestWith(method, { _meta: metaText })),
);

/** As long as it fits into every request. */
const MAX_CLIENT_INFO = 4096;

test('a modern request by way of the legacy era is the request, less the input it brings, and of its envelope who its client is', () => {
  fc.assert(
    fc.property(modernRequest, (text) => {
      const modern = readModern(text);
      const { bytes } = modern.message;
      const legacy = lineOf(bytes, toLegacyRequest(modern).edits);
      const face = greeted(initializeFor(modern.envelope, BROKER));
      const back = only(fromClient(face, legacy).toChild);
      assertSame(back, bytes, 'params', { params: INPUT, meta: ENVELOPE });
      const said = new Map(oneLine(within(bytes, ['params', '_meta']))).get(META.clientInfo);
      const heard = new Map(oneLine(within(back, ['params', '_meta']))).get(META.clientInfo);
      if (said === undefined || said.length <= MAX_CLIENT_INFO) assert.equal(heard, said ?? BROKER_INFO);
      const names = (of: Buffer) => within(of, ['params']).map(([name]) => name);
      assert.deepEqual(
        names(back),
        names(bytes).filter((name) => !INPUT.includes(name)),
      );
    }),
    { numRuns: NUM_RUNS },
  );
});

test('a legacy request by way of the modern era is the request, with empty params and _meta where there were none', () => {
  fc.assert(
    fc.property(legacyRequest, (text) => {
      const sent = Buffer.from(text);
      const modern = only(fromClient(greeted(INITIALIZE), lineOf(sent)).toChild);
      const request = readModern(String(modern));
      const back = lineOf(request.message.bytes, toLegacyRequest(request).edits);
      assert.ok(isJson(back));
      assertSame(back, sent, 'params', { meta: [] });
      assert.equal(readMessage(back.subarray(0, -1)).kind, 'request');
    }),
    { numRuns: NUM_RUNS },
  );
});

const legacyResult = fc.oneof(
  object,
  objectWith({ content: valueText, n: numberText }),
  objectWith({ _meta: metaText, structuredContent: object }),
  objectWith({ _meta: valueText, contents: valueText }),
  valueText,
);
const legacyAnswer = objectWith({ jsonrpc: version, id: idText, result: legacyResult });

test('a legacy answer by way of the modern era is the answer, less a _meta with nothing in it', () => {
  fc.assert(
    fc.property(legacyAnswer, methods, fc.boolean(), (text, method, isNamed) => {
      const sent = Buffer.from(text);
      const id = valueAt(sent, ['id']);
      assert.ok(id !== undefined);
      const modern = toModernAnswer(method, sent, isNamed ? SERVER : { ...SERVER, serverInfo: undefined });
      const face = greeted(INITIALIZE, callOf(rawAt(sent, id), method));
      const back = only(fromChild(face, modern).toClient);
      assertSame(back, sent, 'result', { meta: [] });
    }),
    { numRuns: NUM_RUNS },
  );
});

/** `structuredContent` that is no object has no legacy form, and neither has an output schema of anything else: left out. */
const modernResult = fc.oneof(
  objectWith({ content: valueText, n: numberText }),
  objectWith({
    resultType: fc.constant('"complete"'),
    _meta: objectWith({ [META.serverInfo]: object, n: numberText }),
    structuredContent: object,
  }),
  objectWith({
    resultType: fc.constantFrom('"complete"', '"compl\\u0065te"'),
    ttlMs: numberText,
    cacheScope: stringText,
    _meta: fc.oneof(valueText, objectWith({ [META.serverInfo]: object })),
    contents: valueText,
  }),
);
const modernAnswer = objectWith({ jsonrpc: version, id: idText, result: modernResult });

test('a modern answer by way of the legacy era is the answer, less resultType, ttlMs, cacheScope, serverInfo', () => {
  fc.assert(
    fc.property(modernAnswer, methods, (text, method) => {
      const sent = Buffer.from(text);
      const id = valueAt(sent, ['id']);
      assert.ok(id !== undefined);
      const face = greeted(INITIALIZE, callOf(rawAt(sent, id), method));
      const legacy = only(fromChild(face, sent).toClient);
      const back = toModernAnswer(method, legacy, SERVER);
      assert.ok(isJson(back));
      assertSame(back, sent, 'result', { result: ADDED, meta: [META.serverInfo] });
    }),
    { numRuns: NUM_RUNS },
  );
});

/** Each with the `data` that it comes with. */
type Codes = readonly (readonly [code: string, data: fc.Arbitrary<string>])[];
const errorText = (codes: Codes) =>
  fc
    .constantFrom(...codes)
    .chain(([code, data]) => objectWith({ code: fc.constant(code), message: stringText, data }));
const uri = objectWith({ uri: stringText });
const PLAIN = (['-32601', '-32603', '-32000', '7', '1.0'] as const).map((code) => [code, valueText] as const);
/** A -32002 that does not name its resource stays a -32602, and -32042 becomes a visit or a -32603: left out. */
const LEGACY_ERRORS = [...PLAIN, ['-32002', uri] as const];
const MODERN_ERRORS = [...PLAIN, ['-32602', uri] as const, ['-32602', stringText] as const];

test('an error is the same there and back, and so is the code of a resource that is not there', () => {
  const errors = (codes: Codes) => objectWith({ jsonrpc: version, id: idText, error: errorText(codes) });
  const toLegacy = (answer: Buffer, id: string) =>
    only(fromChild(greeted(INITIALIZE, callOf(id, 'resources/read')), answer).toClient);
  const toModern = (answer: Buffer) => toModernAnswer('resources/read', answer, SERVER);
  fc.assert(
    fc.property(errors(LEGACY_ERRORS), errors(MODERN_ERRORS), (legacyText, modernText) => {
      const [legacy, modern] = [Buffer.from(legacyText), Buffer.from(modernText)];
      const idOf = (bytes: Buffer) => new Map(membersAt(bytes, [])).get('id') ?? '';
      assert.deepEqual(toLegacy(toModern(legacy), idOf(legacy)), legacy);
      assert.deepEqual(toModern(toLegacy(modern, idOf(modern))), modern);
    }),
    { numRuns: NUM_RUNS },
  );
});

const change = objectWith({
  jsonrpc: version,
  method: fc.constant('"notifications/resources/updated"'),
  params: fc.oneof(objectWith({ uri: stringText }), objectWith({ uri: stringText, _meta: metaText })),
});

test('a change that is told on a subscription of the modern era is told as it was', () => {
  const INITIALIZED = Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}');
  const opened = fromClient(greeted(INITIALIZE), lineOf(INITIALIZED));
  const id = new Map(membersAt(only(opened.toChild), [])).get('id') ?? '';
  const acknowledged =
    '{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{' +
    `"${META.subscriptionId}":${id}},"notifications":{"resourcesListChanged":true}}}`;
  const listening = fromChild(opened.state, Buffer.from(acknowledged)).state;
  fc.assert(
    fc.property(change, (text) => {
      const sent = readMessage(Buffer.from(text));
      assert.ok(sent.kind === 'notification');
      const back = only(fromChild(listening, tagged(sent, id)).toClient);
      assertSame(back, sent.bytes, 'params', { meta: [] });
    }),
    { numRuns: NUM_RUNS },
  );
});

const question = fc.oneof(
  ...['elicitation/create', 'sampling/createMessage', 'roots/list'].map((method) =>
    objectWith({ jsonrpc: version, id: idText, method: fc.constant(`"${method}"`), params: object }),
  ),
);

test('a legacy question by way of a modern result is asked, and its answer arrives, in the same parameters and result', () => {
  fc.assert(
    fc.property(question, object, stringText, stringText, (text, said, keyText, stateText) => {
      const asked = readMessage(Buffer.from(text));
      assert.ok(asked.kind === 'request' && asked.params !== undefined);
      const key = String(JSON.parse(keyText));
      const state = String(JSON.parse(stateText));
      const required = inputRequired('5', [{ key, request: asked }], state, SERVER);
      const parked = fromChild(greeted(INITIALIZE, callOf('5', 'tools/call')), required);
      const heard = readMessage(only(parked.toClient));
      assert.ok(heard.kind === 'request' && heard.params !== undefined);
      assert.equal(heard.method, asked.method);
      assert.equal(rawAt(heard.bytes, heard.params), rawAt(asked.bytes, asked.params));

      const answer = `{"jsonrpc":"2.0","id":${rawAt(heard.bytes, heard.id)},"result":${said}}`;
      const retry = readModern(String(only(fromClient(parked.state, lineOf(Buffer.from(answer))).toChild)));
      const input = readInput(retry);
      assert.ok(!('fault' in input));
      assert.equal(input.requestState, state);
      const response = input.responses.get(key);
      assert.ok(response !== undefined);
      const told = answerFor(rawAt(asked.bytes, asked.id), retry.message.bytes, response);
      assert.deepEqual(oneLine(membersAt(told, ['result'])), oneLine(membersAt(Buffer.from(said), [])));
      assert.equal(new Map(membersAt(told, [])).get('id'), rawAt(asked.bytes, asked.id));
    }),
    { numRuns: NUM_RUNS },
  );
});
