/** What is changed in a modern server's answer to a modern client; all else is the server's, byte for byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keptFor, relayed } from '../../src/mcp/relayed-results.js';

const answer = (result: string) => `{"id":1,"jsonrpc":"2.0","result":${result}}`;

const ROWS: readonly (readonly [what: string, method: string, said: string, told?: string])[] = [
  [
    'what is public to a server with one user is private',
    'tools/list',
    '{"tools":[{"n":1.0}],"cacheScope" : "public", "ttlMs":5}',
    '{"tools":[{"n":1.0}],"cacheScope" : "private", "ttlMs":5}',
  ],
  ['however it is written', 'resources/read', '{"cacheScope":"\\u0070ublic"}', '{"cacheScope":"private"}'],
  ['what is private stays so', 'tools/list', '{"cacheScope":"private","ttlMs":12345678901234567890}'],
  [
    "a member of that name in a result that is not to be kept is the tool's own",
    'tools/call',
    '{"cacheScope":"public"}',
  ],
  [
    'only the versions our door knows are offered',
    'server/discover',
    '{"supportedVersions":["2025-11-25", "2026-07-28","2027-01-01"]}',
    '{"supportedVersions":["2026-07-28"]}',
  ],
  ['a server with none of them says so itself', 'server/discover', '{"supportedVersions":["2027-01-01"]}'],
  ['versions that are no list stay', 'server/discover', '{"supportedVersions":{}}'],
  ['a result that is no object stays', 'tools/list', '["public"]'],
  ['what says the same twice stays', 'tools/list', '{"cacheScope":"public","cacheScope":"public"}'],
];
for (const [what, method, said, told = said] of ROWS) {
  test(what, () => assert.equal(relayed(method, Buffer.from(answer(said))).toString(), answer(told)));
}

test('an error stays as it is', () => {
  const error =
    '{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"m","data":{"requiredCapabilities":{}}}}';
  assert.equal(relayed('tools/list', Buffer.from(error)).toString(), error);
});

test('what was kept is told under the id of who asks now, and is stale', () => {
  const kept = Buffer.from(answer('{"ttlMs":3600000,"instructions":"ä"}'));
  assert.equal(
    keptFor('"x"', kept).toString('utf8'),
    '{"id":"x","jsonrpc":"2.0","result":{"ttlMs":0,"instructions":"ä"}}',
  );
});
