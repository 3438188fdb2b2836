/** A request that works at a legacy child, by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noCallToAsk } from '../../src/backend/failures.js';
import { type Child, ModernExchange } from '../../src/backend/modern-exchange.js';
import { messageOf, modernRequest } from '../fixtures/modern.js';

test('a child that asks about a request whose method cannot ask hears that there is none to ask', () => {
  const said: string[] = [];
  const child: Child = {
    side: { serverInfo: undefined, ttlMs: 0 },
    answer: (line) => void said.push(line.toString()),
    released: () => undefined,
    letGo: () => undefined,
    resumed: () => undefined,
  };
  const silent = { streams: true, send: () => undefined, end: () => undefined };
  const exchange = new ModernExchange(modernRequest('tools/list'), silent, child);
  const question = messageOf('{"jsonrpc":"2.0","id":"q","method":"roots/list"}');
  assert.ok(question.kind === 'request');
  assert.equal(exchange.mayAsk, false);
  void exchange.ask(question);
  assert.deepEqual(
    said.map((line) => JSON.parse(line)),
    [{ jsonrpc: '2.0', id: 'q', error: noCallToAsk }],
  );
});
