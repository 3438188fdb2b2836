/**
 * What crosses the eras is kept: every member that is not the era's own, in its order and in its bytes, wherever it stood
 * and however it was spelled. Numbers keep their digits, texts their escapes, and JSON stays JSON.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { classify } from '../../src/mcp/envelope.js';
import { answerFor, inputRequired, parametersOf, readInput } from '../../src/mcp/input-required.js';
import { isJson } from '../../src/mcp/json.js';
import { elicitationsIn, readGreeting, toModernAnswer } from '../../src/mcp/legacy-to-modern.js';
import { rawAt, readMessage, splice, valueAt } from '../../src/mcp/message.js';
import { MODERN_METHODS } from '../../src/mcp/methods.js';
import { initializeFor, toLegacyRequest } from '../../src/mcp/modern-to-legacy.js';
import { checkParamHeaders, readToolHeaders } from '../../src/mcp/param-headers.js';
import { isObjectAt } from '../../src/mcp/scan.js';
import { readFilter, tagged } from '../../src/mcp/subscriptions.js';
import { idText, numberText, objectWith, stringText, valueText } from '../fixtures/json-text.js';
import { membersAt, without } from '../fixtures/members.js';
import { readModern } from '../fixtures/modern.js';

const PREFIX = 'io.modelcontextprotocol/';
const ENVELOPE = ['protocolVersion', 'clientInfo', 'clientCapabilities', 'logLevel'].map(
  (name) => PREFIX + name,
);
const INSIDE = ['params', '_meta'];
const INPUT = ['inputResponses', 'requestState'];
const NUM_RUNS = 300;

const version = fc.constant('"2.0"');
const empty = fc.constant('{}');
const object = objectWith({});
const envelope = {
  [`${PREFIX}protocolVersion`]: fc.constantFrom('"2026-07-28"', '"2026\\u002d07-28"'),
  [`${PREFIX}clientCapabilities`]: objectWith({ sampling: fc.oneof(object, valueText), roots: empty }),
};
const metaText = fc.oneof(
  objectWith(envelope),
  objectWith({ ...envelope, progressToken: idText, traceparent: stringText }),
  objectWith({ ...envelope, [`${PREFIX}clientInfo`]: object, [`${PREFIX}logLevel`]: fc.constant('"info"') }),
);
const params = fc.oneof(
  objectWith({ _meta: metaText }),
  objectWith({ _meta: metaText, cursor: stringText, arguments: valueText }),
  objectWith({ _meta: metaText, inputResponses: objectWith({ k: object }), requestState: stringText }),
  objectWith({ requestState: stringText, arguments: valueText, _meta: metaText }),
);
const request = objectWith({ jsonrpc: version, id: idText, method: fc.constant('"tools/list"'), params });

test('a request to a legacy server is the request, less the envelope and the input', () => {
  fc.assert(
    fc.property(request, (text) => {
      const modern = readModern(text);
      const { bytes } = modern.message;
      const legacy = readMessage(splice(bytes, toLegacyRequest(modern).edits ?? []));
      assert.ok(legacy.kind === 'request' && isJson(legacy.bytes));
      for (const [path, ours] of [
        [[], []],
        [['params'], INPUT],
        [['params', '_meta'], ENVELOPE],
      ] as const) {
        // What is looked into is not compared from outside.
        const kept = without(membersAt(bytes, path), [...ours, ...INSIDE]);
        assert.deepEqual(without(membersAt(legacy.bytes, path), INSIDE), kept);
      }
      assert.equal(legacy.version, undefined);
      assert.equal(rawAt(legacy.bytes, legacy.id), rawAt(bytes, modern.message.id));
      const { token } = modern.message;
      assert.equal(legacy.token && rawAt(legacy.bytes, legacy.token), token && rawAt(bytes, token));
    }),
    { numRuns: NUM_RUNS },
  );
});

test('a retry is known by its parameters, less the envelope and the input', () => {
  fc.assert(
    fc.property(request, (text) => {
      const modern = readModern(text);
      const parts = Buffer.concat(parametersOf(modern));
      assert.ok(isJson(parts));
      assert.deepEqual(
        membersAt(parts, []),
        without(membersAt(modern.message.bytes, ['params']), ['_meta', ...INPUT]),
      );
    }),
    { numRuns: NUM_RUNS },
  );
});

const SERVER = { serverInfo: '{"name":"s"}', ttlMs: 7 };
const result = fc.oneof(
  object,
  objectWith({ _meta: object, content: valueText }),
  objectWith({
    _meta: objectWith({ n: numberText }),
    resultType: valueText,
    ttlMs: valueText,
    cacheScope: valueText,
  }),
  valueText,
);
const answer = objectWith({ jsonrpc: version, id: idText, result });

test('an answer to a modern client is the answer, and what the era adds', () => {
  fc.assert(
    fc.property(answer, fc.constantFrom(...MODERN_METHODS.keys()), (text, method) => {
      const bytes = Buffer.from(text);
      const modern = toModernAnswer(method, bytes, SERVER);
      assert.ok(isJson(modern));
      assert.deepEqual(without(membersAt(modern, []), ['result']), without(membersAt(bytes, []), ['result']));
      const at = valueAt(bytes, ['result']);
      assert.ok(at !== undefined);
      if (!isObjectAt(bytes, at.start)) {
        assert.deepEqual(modern, bytes);
        return;
      }
      const hints = MODERN_METHODS.get(method)?.cacheable ? ['ttlMs', 'cacheScope'] : [];
      const own = ['_meta', 'resultType', ...hints];
      const members = membersAt(modern, ['result']);
      assert.deepEqual(without(members, own), without(membersAt(bytes, ['result']), own));
      const set = new Map(members);
      assert.equal(set.get('resultType'), '"complete"');
      if (hints.length > 0) assert.deepEqual([set.get('ttlMs'), set.get('cacheScope')], ['7', '"private"']);
      const meta = valueAt(bytes, ['result', '_meta']);
      const kept =
        meta !== undefined && isObjectAt(bytes, meta.start) ? membersAt(bytes, ['result', '_meta']) : [];
      const serverInfo = [`${PREFIX}serverInfo`, SERVER.serverInfo] as const;
      assert.deepEqual(membersAt(modern, ['result', '_meta']), [serverInfo, ...kept]);
    }),
    { numRuns: NUM_RUNS },
  );
});

const notification = fc.oneof(
  objectWith({ jsonrpc: version, method: fc.constant('"notifications/resources/updated"') }),
  objectWith({
    jsonrpc: version,
    method: fc.constant('"notifications/resources/updated"'),
    params: fc.oneof(object, objectWith({ _meta: object, uri: stringText }), objectWith({ uri: stringText })),
  }),
);

test('a notification on a subscription is the notification, and the id of the subscription', () => {
  fc.assert(
    fc.property(notification, idText, (text, id) => {
      const raw = Buffer.from(id).toString('latin1');
      const message = readMessage(Buffer.from(text));
      assert.ok(message.kind === 'notification');
      const { bytes } = message;
      const leaving = tagged(message, raw);
      assert.ok(isJson(leaving));
      const at = (path: readonly string[]) =>
        valueAt(bytes, path) === undefined ? [] : membersAt(bytes, path);
      assert.deepEqual(
        without(membersAt(leaving, ['params']), ['_meta']),
        without(at(['params']), ['_meta']),
      );
      assert.deepEqual(membersAt(leaving, ['params', '_meta']), [
        [`${PREFIX}subscriptionId`, raw],
        ...at(['params', '_meta']),
      ]);
    }),
    { numRuns: NUM_RUNS },
  );
});

const ask = objectWith({
  jsonrpc: version,
  id: idText,
  method: fc.constant('"elicitation/create"'),
  params: object,
});

test('what a server asks, and what its client answers, arrive as they were said', () => {
  fc.assert(
    fc.property(ask, object, stringText, (askText, responseText, keyText) => {
      const asked = readMessage(Buffer.from(askText));
      assert.ok(asked.kind === 'request');
      const key = String(JSON.parse(keyText));
      const required = inputRequired('1', [{ key, request: asked }], 'state', { serverInfo: undefined });
      assert.ok(isJson(required));
      const [[name, raw] = ['', '']] = membersAt(required, ['result', 'inputRequests']);
      assert.equal(name, key);
      const params = valueAt(Buffer.from(askText), ['params']);
      assert.equal(
        new Map(membersAt(Buffer.from(raw, 'latin1'), [])).get('params'),
        params && rawAt(asked.bytes, params),
      );

      const retry = readModern(
        `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"inputResponses":{${keyText}:${responseText}},"_meta":{` +
          `"${PREFIX}protocolVersion":"2026-07-28","${PREFIX}clientCapabilities":{}}}}`,
      );
      const input = readInput(retry);
      assert.ok(!('fault' in input));
      const response = input.responses.get(key);
      assert.ok(response !== undefined);
      const line = answerFor(rawAt(asked.bytes, asked.id), retry.message.bytes, response);
      assert.equal(line.indexOf('\n'), line.length - 1);
      const said = readMessage(line);
      assert.ok(said.kind === 'response' && said.result !== undefined);
      assert.equal(rawAt(line, said.id), rawAt(asked.bytes, asked.id));
      const answered = Buffer.from(responseText.trim().replaceAll(/[\r\n]/g, ' '));
      assert.deepEqual(line.subarray(said.result.start, said.result.end), answered);
    }),
    { numRuns: NUM_RUNS },
  );
});

test('nothing that a stranger sends makes anything throw', () => {
  const anything = objectWith({
    jsonrpc: version,
    id: idText,
    method: fc.constantFrom('"tools/call"', '"subscriptions/listen"', '"x"'),
    params: fc.oneof(
      valueText,
      objectWith({
        _meta: fc.oneof(valueText, metaText, objectWith({ [`${PREFIX}protocolVersion`]: valueText })),
        name: fc.constantFrom('"t"', '1'),
        arguments: valueText,
        inputResponses: valueText,
        requestState: valueText,
        notifications: valueText,
      }),
    ),
  });
  const header = fc.oneof(
    fc.constantFrom('2026-07-28', '2025-11-25', 'tools/call', 't', undefined),
    fc.string(),
  );
  fc.assert(
    fc.property(anything, header, header, header, fc.string(), (text, version, method, name, noise) => {
      const message = readMessage(Buffer.from(text));
      assert.ok(message.kind !== 'invalid', text);
      const found = classify(
        message,
        (key) => ({ 'mcp-protocol-version': version, 'mcp-method': method, 'mcp-name': name })[key] ?? noise,
      );
      if (found.is === 'modern request') {
        toLegacyRequest(found.request);
        initializeFor(found.request.envelope, { id: '1', clientInfo: '{}' });
        readInput(found.request);
        readFilter(found.request);
        parametersOf(found.request);
        checkParamHeaders([{ path: ['a', 'ü'], header: 'mcp-param-a' }], found.request, () => noise);
      }
      const broken = Buffer.from(noise + text.slice(noise.length));
      readToolHeaders(broken);
      readGreeting(broken);
      toModernAnswer('tools/list', broken, SERVER);
      const heard = readMessage(broken);
      if (heard.kind === 'response') elicitationsIn(heard);
    }),
    { numRuns: 1000 },
  );
});
