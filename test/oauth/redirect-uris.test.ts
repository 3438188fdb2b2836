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
  // Run or read by a browser.
  'JavaScript:alert(1)',
  'vbscript:x',
  'blob:https://client.example/1',
  'about:blank',
  'view-source:https://client.example/',
  'filesystem:https://client.example/x',
  'chrome-extension://abc/cb',
  'moz-extension://abc/cb',
  // Protocols.
  'ftp://client.example/cb',
  'ws://client.example/cb',
  'ssh://client.example/',
  'ldap://client.example/',
  'smb://client.example/share',
  'git+ssh://client.example/',
  // A message or a call to somebody.
  'mailto:someone@client.example',
  'tel:112',
  // Handed to the system.
  'ms-msdt:/id/PCWDiagnostic',
  'MS-MSDT:/id/PCWDiagnostic',
  'ms-word:ofe',
  'ms-officecmd:x',
  'search-ms:query=x',
  'shell:startup',
  'intent://x',
  'itms-services://x',
  'x-apple.systempreferences:x',
  'c:/windows',
  // What a web site may claim has an https address.
  'web+client://cb',
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
  'com.googleusercontent.apps.123:/oauth2redirect',
  'vscode://vscode.github-authentication/did-authenticate',
  'vscode-insiders://callback',
  'windsurf://callback',
  'zed://oauth',
  'claude://callback',
  'msauth.com.example.app://auth',
  'goose://oauth',
];
for (const uri of ACCEPTED) {
  test(`${uri} can be registered`, () => assert.equal(refusalOfRedirectUri(uri), undefined));
}

const SCHEME_CASES = fc.constantFrom(
  ...['javascript', 'data', 'file', 'blob', 'about', 'view-source', 'ftp', 'mailto', 'ssh', 'ws'],
  ...[
    'ms-msdt',
    'ms-search',
    'search-ms',
    'ms-appinstaller',
    'shell',
    'intent',
    'x-apple-reminder',
    'web+mcp',
  ],
);

test('a scheme that is taken is refused however it is spelt and whatever follows', () => {
  const spelt = fc
    .tuple(SCHEME_CASES, fc.infiniteStream(fc.boolean()))
    .map(([name, upper]) => [...name].map((c) => (upper.next().value ? c.toUpperCase() : c)).join(''));
  const rest = fc.oneof(fc.constantFrom('', '//x/cb', '/cb', 'cb?x=1'), fc.webPath());
  fc.assert(
    fc.property(spelt, rest, (scheme, after) => {
      assert.notEqual(refusalOfRedirectUri(`${scheme}:${after}`), undefined);
    }),
  );
});

test('a scheme that is a reversed domain name can be registered, whoever has the domain (RFC 8252 §7.1)', () => {
  fc.assert(
    fc.property(fc.domain(), fc.constantFrom(':/cb', '://cb', ':/cb?x=1'), (domain, after) => {
      const scheme = domain.split('.').toReversed().join('.');
      // A scheme begins with a letter, and a name in a domain need not.
      if (!/^[a-z]/i.test(scheme)) return;
      assert.equal(refusalOfRedirectUri(scheme + after), undefined);
    }),
  );
});
