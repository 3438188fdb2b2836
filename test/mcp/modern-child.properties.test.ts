/** What passes a modern child’s face is changed where it must be, and nowhere else, whatever it looks like. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromChild, fromClient, type ModernChild, newModernChild } from '../../src/mcp/modern-child.js';
import { META } from '../../src/mcp/protocol.js';
import { idText, objectWith, stringText, valueText } from '../fixtures/json-text.js';

const INITIALIZE =
  '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}}}}';
const DISCOVERED =
  '{"jsonrpc":"2.0","id":0,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"resources":{"subscribe":true}}}}';

function greeted(): ModernChild {
  const { state } = fromClient(newModernChild(1e6), Buffer.from(`${INITIALIZE}\n`));
  return fromChild(state, Buffer.from(DISCOVERED)).state;
}

const serverInfo = fc.constant('{"name":"m","version":"1"}');
const result = objectWith({
  resultType: fc.constant('"complete"'),
  ttlMs: fc.constant('5'),
  cacheScope: fc.constant('"public"'),
  _meta: objectWith({ [META.serverInfo]: serverInfo }),
  content: valueText,
});
const request = objectWith({
  jsonrpc: fc.constant('"2.0"'),
  id: fc.constant('7'),
  method: fc.constant('"x/y"'),
  params: objectWith({ _meta: objectWith({ progressToken: idText }), arguments: valueText }),
});

/** As a legacy client should read it: without what the new era put in. */
function expected(text: string): unknown {
  const value = JSON.parse(text);
  for (const name of ['resultType', 'ttlMs', 'cacheScope']) delete value[name];
  const meta = value._meta;
  if (meta !== undefined && META.serverInfo in meta) {
    delete meta[META.serverInfo];
    if (Object.keys(meta).length === 0) delete value._meta;
  }
  return value;
}

test('a result loses what is new, and is JSON that says the rest', () => {
  fc.assert(
    fc.property(result, (text) => {
      const { toClient } = fromChild(greeted(), Buffer.from(`{"jsonrpc":"2.0","id":5,"result":${text}}`));
      assert.equal(toClient.length, 1);
      assert.deepEqual(JSON.parse(String(toClient[0])).result, expected(text));
    }),
  );
});

test('a request gains its envelope, and is one line that says the rest', () => {
  fc.assert(
    fc.property(request, (text) => {
      const line = Buffer.from(`${text.replaceAll(/[\r\n]/g, ' ')}\n`);
      const { toChild } = fromClient(greeted(), line);
      const sent = JSON.parse(String(toChild[0]));
      const names = [META.version, META.clientInfo, META.capabilities];
      for (const name of names) {
        assert.ok(name in sent.params._meta);
        delete sent.params._meta[name];
      }
      const given = JSON.parse(text);
      given.params ??= {};
      given.params._meta ??= {};
      assert.deepEqual(sent, given);
    }),
  );
});

test('nothing that either side says throws', () => {
  const known = fc.constantFrom(
    '"initialize"',
    '"tools/call"',
    '"resources/subscribe"',
    '"notifications/cancelled"',
  );
  const inputs = objectWith({
    a: objectWith({ method: fc.constant('"elicitation/create"'), params: valueText }),
  });
  const asks = objectWith({
    resultType: fc.constant('"input_required"'),
    inputRequests: inputs,
    requestState: stringText,
  });
  const message = objectWith({
    jsonrpc: fc.constant('"2.0"'),
    id: fc.oneof(fc.constant('7'), fc.constant('"fjmcp-1"'), fc.constant('"fjmcp-listen-1"'), idText),
    method: known,
    params: objectWith({ uri: stringText, requestId: idText, _meta: valueText }),
    result: fc.oneof(asks, valueText),
    error: valueText,
  });
  const line = fc.oneof({ weight: 5, arbitrary: message }, valueText, fc.string());
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), line), { maxLength: 20 }), (lines) => {
      let state = greeted();
      for (const [isClient, text] of lines) {
        const said = Buffer.from(text.replaceAll(/[\r\n]/g, ' '));
        ({ state } = isClient
          ? fromClient(state, Buffer.concat([said, Buffer.from('\n')]))
          : fromChild(state, said));
        assert.ok(state.book.held >= 0);
        for (const [retry, id] of state.book.retries) assert.equal(state.book.calls.get(id)?.id, retry);
        for (const id of state.book.asks.values()) assert.equal(state.book.calls.get(id)?.id, undefined);
      }
    }),
  );
});
