import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isLoopback, matchesRedirectUri, refusalOfRedirectUri } from '../../src/oauth/redirect-uris.js';

const MATCHES: readonly (readonly [registered: string, requested: string, matches: boolean])[] = [
  ['https://claude.ai/api/mcp/auth_callback', 'https://claude.ai/api/mcp/auth_callback', true],
  ['https://claude.ai/api/mcp/auth_callback', 'https://claude.ai/api/mcp/auth_callback/', false],
  ['https://claude.ai/cb', 'https://claude.ai:8443/cb', false],
  ['https://claude.ai/cb', 'https://claude.ai.evil.example/cb', false],
  ['http://localhost/callback', 'http://localhost:53682/callback', true],
  ['http://localhost:1/callback', 'http://localhost:53682/callback', true],
  ['http://127.0.0.1/callback', 'http://127.0.0.1:9999/callback', true],
  ['http://[::1]/callback', 'http://[::1]:9999/callback', true],
  ['http://127.0.0.1/', 'http://127.0.0.1:33418', true],
  ['http://127.0.0.1/callback', 'http://localhost:9999/callback', false],
  ['http://127.0.0.1/callback', 'http://127.0.0.1:9999/other', false],
  ['http://127.0.0.1/callback', 'http://127.0.0.1:9999/callback?x=1', false],
  ['http://127.0.0.1/callback', 'http://127.0.0.1:99999/callback', false],
  ['http://127.0.0.1/callback', 'http://127.0.0.1:9@evil.example/callback', false],
  ['http://localhost/callback', 'http://localhost.evil.example/callback', false],
  ['http://localhost/callback', 'https://localhost:1/callback', false],
  ['cursor://anysphere.cursor-mcp/oauth/callback', 'cursor://anysphere.cursor-mcp/oauth/callback', true],
  [
    'cursor://anysphere.cursor-mcp/oauth/callback',
    'cursor://anysphere.cursor-retrieval/oauth/callback',
    false,
  ],
];

for (const [registered, requested, matches] of MATCHES) {
  test(`${requested} is ${matches ? '' : 'not '}the registered ${registered}`, () => {
    assert.equal(matchesRedirectUri(registered, requested), matches);
  });
}

test('a redirect URI that is not loopback matches nothing but itself', () => {
  fc.assert(
    fc.property(fc.webUrl(), fc.webUrl(), (a, b) => {
      assert.equal(
        matchesRedirectUri(a, b),
        a === b || (isLoopback(a) && isLoopback(b) && matchesRedirectUri(b, a)),
      );
    }),
  );
});

test('whatever the port, a loopback redirect URI matches its port-less form', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 65535 }),
      fc.constantFrom('localhost', '127.0.0.1', '[::1]'),
      (port, host) => matchesRedirectUri(`http://${host}/callback`, `http://${host}:${port}/callback`),
    ),
  );
});

const REFUSED = [
  'javascript:alert(1)',
  'data:text/html,x',
  'file:///etc/passwd',
  'http://example.org/cb',
  'http://192.168.1.2/cb',
  'https://example.org/cb#fragment',
  'https://user:password@example.org/cb',
  'https://example.org/c b',
  '/relative',
  'http://localhost.example.org/cb',
];
for (const uri of REFUSED) {
  test(`${JSON.stringify(uri)} cannot be registered`, () =>
    assert.notEqual(refusalOfRedirectUri(uri), undefined));
}

const ACCEPTED = [
  'https://claude.ai/api/mcp/auth_callback',
  'https://chatgpt.com/connector/oauth/abc',
  'cursor://anysphere.cursor-mcp/oauth/callback',
  'http://127.0.0.1:33418/',
  'http://localhost:3000/oauth/callback?x=1',
  'com.example.app:/oauth',
];
for (const uri of ACCEPTED) {
  test(`${uri} can be registered`, () => assert.equal(refusalOfRedirectUri(uri), undefined));
}
