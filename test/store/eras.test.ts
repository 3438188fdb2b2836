/** What every store must do for verdicts about servers; the one in memory, which tests use, as well. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EraStore, EraVerdict } from '../../src/backend/era-store.js';
import { memoryEraStore } from '../fixtures/session-store.js';
import { DRIVERS, NOW } from './drivers.js';

const verdict = (server: string, more: Partial<EraVerdict> = {}): EraVerdict => ({
  server,
  key: 'k1',
  era: 'legacy',
  discover: null,
  judgedAt: NOW,
  ...more,
});

const MEMORY = { name: 'memory', open: () => ({ store: { ...memoryEraStore(), ...nothing } }) };
const nothing = { [Symbol.asyncDispose]: () => Promise.resolve() };
const STORES: { name: string; open: () => { store: EraStore & AsyncDisposable } }[] = [...DRIVERS, MEMORY];

for (const { name, open } of STORES) {
  describe(`the ${name} store of eras`, () => {
    test('gives a verdict back as it was saved', async () => {
      await using store = open().store;
      assert.equal(await store.findEra('a'), undefined);
      const modern = verdict('a', { era: 'modern', discover: Buffer.from('{"ä":1}') });
      await store.saveEra(modern);
      await store.saveEra(verdict('b'));
      assert.deepEqual(await store.findEra('a'), modern);
      assert.deepEqual(await store.findEra('b'), verdict('b'));
    });

    test('knows one verdict a server, the last', async () => {
      await using store = open().store;
      await store.saveEra(verdict('a', { era: 'modern', discover: Buffer.from('x') }));
      const later = verdict('a', { key: 'k2', judgedAt: NOW + 1 });
      await store.saveEra(later);
      assert.deepEqual(await store.findEra('a'), later);
    });
  });
}
