/** What holds for every input, not only for those we thought of: matching, parsing, resolving, answering. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { responseUrl } from '../../src/oauth/authorization.js';
import { parseClientCredentials, registerClient, registrationResponse } from '../../src/oauth/clients.js';
import { isFault, toWire } from '../../src/oauth/fault.js';
import { parseParameters } from '../../src/oauth/parameters.js';
import { isLoopback, matchesRedirectUri, refusalOfRedirectUri } from '../../src/oauth/redirect-uris.js';
import { resolveResource } from '../../src/oauth/resources.js';
import { grantedScope } from '../../src/oauth/scopes.js';

const ORIGIN = 'https://mcp.example.org';
const resources = { origin: ORIGIN, endpoints: [`${ORIGIN}/mcp`, `${ORIGIN}/mcp/forgejo`] };

/** Near misses: pieces that URIs are made of, in any order. */
const uriLike = fc
  .array(
    fc.constantFrom(
      ...['http:', 'https:', '//', '/', 'localhost', '127.0.0.1', '[::1]', 'evil.example', ':', '80', '8080'],
      ...[
        '@',
        '\\',
        '?',
        '#',
        '.',
        '%2e',
        'callback',
        'javascript:',
        'cursor:',
        'about:',
        ' ',
        '\t',
        '\u202e',
        'é',
        '..',
      ],
      ...['mcp.example.org', 'MCP.example.ORG', 'mcp', 'forgejo', ':443'],
    ),
    { maxLength: 9 },
  )
  .map((parts) => parts.join(''));
const anyUri = fc.oneof(uriLike, fc.webUrl({ withQueryParameters: true, withFragments: true }), fc.string());

test('two redirect URIs match only if they are equal, or one loopback address with two ports', () => {
  fc.assert(
    fc.property(anyUri, anyUri, (registered, requested) => {
      if (refusalOfRedirectUri(registered) !== undefined) return;
      if (!matchesRedirectUri(registered, requested) || registered === requested) return;
      assert.ok(isLoopback(registered) && isLoopback(requested));
      const [a, b] = [new URL(registered), new URL(requested)];
      for (const part of ['protocol', 'hostname', 'pathname', 'search', 'hash', 'username'] as const)
        assert.equal(a[part], b[part], part);
    }),
    { numRuns: 3000 },
  );
});

test('a loopback redirect URI matches itself under every port, and under no other host or path', () => {
  const host = fc.constantFrom('localhost', '127.0.0.1', '[::1]');
  const path = fc.constantFrom('', '/', '/callback', '/callback/', '/callback?x=1', '/Callback');
  const port = fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined });
  const uri = (h: string, n: number | undefined, p: string) =>
    `http://${h}${n === undefined ? '' : `:${n}`}${p}`;
  fc.assert(
    fc.property(host, port, path, host, port, path, (h1, n1, p1, h2, n2, p2) => {
      assert.equal(
        matchesRedirectUri(uri(h1, n1, p1), uri(h2, n2, p2)),
        h1 === h2 && (p1 || '/') === (p2 || '/'),
      );
    }),
  );
});

test('a registered redirect URI leads where the consent page says, whatever page a browser comes from', () => {
  fc.assert(
    fc.property(anyUri, (uri) => {
      if (refusalOfRedirectUri(uri) !== undefined) return;
      const shown = new URL(uri);
      for (const base of [`${ORIGIN}/oauth/callback`, 'http://127.0.0.1:8080/oauth/callback']) {
        const led = new URL(responseUrl({ redirectUri: uri, state: undefined }, ORIGIN, { code: 'c' }), base);
        assert.equal(led.protocol, shown.protocol);
        assert.equal(led.host, shown.host);
        assert.equal(led.username + led.password + led.hash, '');
        assert.ok(!['javascript:', 'data:', 'file:', 'blob:', 'ftp:', 'about:'].includes(led.protocol));
        assert.ok(led.protocol !== 'http:' || isLoopback(uri));
      }
    }),
    { numRuns: 3000 },
  );
});

test('an authorization response repeats any state exactly, says iss once, and is one line of visible ASCII', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('', '?x=1', '?iss=https://evil.example'),
      (state, query) => {
        const redirectUri = `https://client.example/cb${query}`;
        const text = responseUrl({ redirectUri, state }, ORIGIN, { code: 'c' });
        assert.match(text, /^[\x21-\x7e]+$/);
        assert.ok(text.startsWith(redirectUri));
        const added = new URLSearchParams(text.slice(redirectUri.length + 1));
        assert.equal(added.get('state'), state);
        assert.deepEqual(added.getAll('iss'), [ORIGIN]);
      },
    ),
  );
});

test('whatever scope is asked for, the broker grants its own and nothing else', () => {
  fc.assert(
    fc.property(fc.option(fc.string(), { nil: undefined }), (asked) => {
      assert.ok(['mcp', 'mcp offline_access'].includes(grantedScope(asked)));
    }),
  );
});

test('parameters are read or refused, never thrown at; a value that appears is the only one there was', () => {
  const name = fc.constantFrom('state', 'resource', 'code', '__proto__', 'constructor', '', 'a\r\nb');
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.string({ maxLength: 3 })), { maxLength: 6 }), (pairs) => {
      const parsed = parseParameters(new URLSearchParams(pairs));
      const given = (wanted: string) => pairs.filter(([n, value]) => n === wanted && value !== '');
      const repeated = pairs.some(([n]) => n !== 'resource' && given(n).length > 1);
      assert.equal(isFault(parsed), repeated);
      if (isFault(parsed)) return;
      for (const [n] of pairs) if (n !== 'resource') assert.equal(parsed.get(n), given(n)[0]?.[1]);
      assert.equal(parsed.get('resource'), undefined);
      assert.equal(parsed.get('toString'), undefined);
    }),
  );
});

test('a resource is one of ours or refused, and never accepted for another origin', () => {
  fc.assert(
    fc.property(fc.array(anyUri, { maxLength: 3 }), (asked) => {
      const resolved = resolveResource(asked, resources);
      if (typeof resolved !== 'string') return;
      assert.ok([ORIGIN, ...resources.endpoints].includes(resolved));
      for (const text of asked) assert.equal(new URL(text).origin, ORIGIN);
    }),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(fc.webUrl(), (url) => {
      assert.notEqual(typeof resolveResource([url], resources), 'string');
    }),
  );
});

test('client credentials are read or refused, whatever the header and the form hold', () => {
  const header = fc.option(
    fc.oneof(
      fc.string(),
      fc.string().map((text) => `Basic ${text}`),
      fc.string().map((text) => `Basic ${Buffer.from(text).toString('base64')}`),
    ),
    { nil: undefined },
  );
  const field = fc.constantFrom('client_id', 'client_secret', 'client_assertion', 'client_assertion_type');
  fc.assert(
    fc.property(header, fc.dictionary(field, fc.string()), (authorization, fields) => {
      const form = parseParameters(new URLSearchParams(fields));
      assert.ok(!isFault(form));
      const claimed = parseClientCredentials(form, authorization);
      // Whoever tries Basic is judged by it: an unreadable one is not the same as none.
      if (/^basic\b/i.test(authorization ?? '') && !isFault(claimed))
        assert.equal(claimed.proof.by, 'secret');
    }),
  );
});

const member = fc.constantFrom(
  ...['redirect_uris', 'client_name', 'client_uri', 'token_endpoint_auth_method', 'jwks_uri', 'grant_types'],
  ...['response_types', 'scope', 'logo_uri', '__proto__'],
);
const almostMetadata = fc.dictionary(
  member,
  fc.oneof(
    fc.jsonValue(),
    fc.array(anyUri),
    fc.constantFrom(['authorization_code'], 'none', 'private_key_jwt'),
  ),
);

test('any JSON can be sent to the registration: it is refused in the standard’s words, or answered without a null', () => {
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), almostMetadata), (body) => {
      const outcome = registerClient(body, 0, randomBytes);
      if (!isFault(outcome)) {
        assert.ok(!Object.values(registrationResponse(outcome)).includes(null));
        return;
      }
      const { status, code, description } = toWire(outcome);
      assert.equal(status, 400);
      assert.ok(['invalid_client_metadata', 'invalid_redirect_uri'].includes(code));
      assert.match(description, ERROR_TEXT);
    }),
    { numRuns: 1000 },
  );
});

/** RFC 6749 §5.2: `error_description` holds neither `"` nor `\` nor anything beyond visible ASCII. */
const ERROR_TEXT = /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/;

test('an error repeats no text of the caller that the standard does not allow in a description', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), (name) => {
      const refused = parseParameters(
        new URLSearchParams([
          [name, '1'],
          [name, '2'],
        ]),
      );
      if (name === 'resource') return;
      assert.ok(isFault(refused));
      assert.match(toWire(refused).description, ERROR_TEXT);
    }),
  );
});
