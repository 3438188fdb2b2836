/** Which SQLite driver is loaded: never one that would end the process, and always one that is there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseDriver } from '../../src/store/sqlite.js';

const installed = (name: string) => `/node_modules/${name}/index.js`;
const missing = (name: string) => {
  throw Object.assign(new Error(`Cannot find module '${name}'`), { code: 'MODULE_NOT_FOUND' });
};

test('better-sqlite3 is loaded from Node-API 10 on', () => {
  assert.equal(chooseDriver('10', installed), 'better-sqlite3');
  assert.equal(chooseDriver('11', installed), 'better-sqlite3');
});

test('libsql is loaded on an older Node-API, even where better-sqlite3 is installed', () => {
  assert.equal(chooseDriver('9', installed), 'libsql');
});

test('libsql is loaded where the optional better-sqlite3 was not installed, whatever the Node-API', () => {
  assert.equal(chooseDriver('10', missing), 'libsql');
  assert.equal(chooseDriver('9', missing), 'libsql');
});
