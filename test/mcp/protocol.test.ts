/** The versions of the protocol that are spoken here, held against what the SDKs and real clients speak. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LATEST_PROTOCOL_VERSION, SUPPORTED_PROTOCOL_VERSIONS } from '@modelcontextprotocol/sdk/types.js';
import { LEGACY_VERSIONS, MODERN_VERSION } from '../../src/mcp/protocol.js';

test('the versions with a handshake are the four released ones, newest first', () => {
  assert.deepEqual(LEGACY_VERSIONS, ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']);
  assert.ok(LEGACY_VERSIONS.every((version) => version < MODERN_VERSION));
});

test('the SDK knows each of them, and its newest one is our newest', () => {
  for (const version of LEGACY_VERSIONS) assert.ok(SUPPORTED_PROTOCOL_VERSIONS.includes(version), version);
  assert.equal(LEGACY_VERSIONS[0], LATEST_PROTOCOL_VERSION);
});
