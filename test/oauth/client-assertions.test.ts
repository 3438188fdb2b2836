/** private_key_jwt (RFC 7523): which assertions prove a client, with real keys and a real key server. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from 'jose';
import { MINUTE, SECOND } from '../../src/base/clock.js';
import { createRecordingLog } from '../../src/base/log.js';
import { type PublicFetch, publicFetch } from '../../src/base/public-fetch.js';
import { ClientAssertions } from '../../src/oauth/client-assertions.js';
import { readDocument } from '../../src/oauth/client-documents.js';
import { FetchPlaces } from '../../src/oauth/fetch-places.js';
import { type DocumentHost, startDocumentHost } from '../support/document-host.js';

const ISSUER = 'https://mcp.example.org';
const TOKEN_ENDPOINT = `${ISSUER}/oauth/token`;

const rsa = await generateKeyPair('RS256', { extractable: true });
const otherRsa = await generateKeyPair('RS256', { extractable: true });
const ec = await generateKeyPair('ES256', { extractable: true });

/** The network that asks. */
const HERE = '192.0.2.1';
const placesOf = (fetch: PublicFetch, now: () => number) =>
  new FetchPlaces({ fetch, now, log: createRecordingLog(() => undefined) });

async function publicJwk(pair: typeof rsa, kid: string) {
  return { ...(await exportJWK(pair.publicKey)), kid, use: 'sig' };
}

async function setUp() {
  const host = await startDocumentHost();
  const clock = { now: Date.UTC(2026, 5, 1) };
  const jwksUri = host.serve('/keys', { keys: [await publicJwk(rsa, 'one'), await publicJwk(ec, 'curve')] });
  const id = `${host.url}/client.json`;
  const document = {
    client_id: id,
    redirect_uris: ['https://app.example/cb'],
    token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
    jwks_uri: jwksUri,
  };
  const client = readDocument(id, JSON.stringify(document), 0);
  assert.ok(!('problem' in client));
  const now = () => clock.now;
  const assertions = new ClientAssertions({
    audiences: [TOKEN_ENDPOINT, ISSUER],
    places: placesOf(publicFetch(host.network), now),
    now,
  });
  let serial = 0;
  /** Claims of a good assertion, with some changed; `undefined` leaves one out. */
  const claims = (changed: Record<string, unknown> = {}): JWTPayload => {
    const seconds = Math.floor(clock.now / SECOND);
    serial += 1;
    const all = {
      iss: id,
      sub: id,
      aud: TOKEN_ENDPOINT,
      iat: seconds,
      exp: seconds + 300,
      jti: `j${serial}`,
    };
    return Object.fromEntries(
      Object.entries({ ...all, ...changed }).filter(([, value]) => value !== undefined),
    );
  };
  const sign = (payload: JWTPayload, kid: string | undefined = 'one', key = rsa.privateKey, alg = 'RS256') =>
    new SignJWT(payload).setProtectedHeader({ alg, ...(kid === '' ? {} : { kid }) }).sign(key);
  const check = async (assertion: string | Promise<string>) =>
    (await assertions.check(client, await assertion, HERE))?.detail ?? 'proven';
  const close = () => host[Symbol.asyncDispose]();
  return { host, clock, client, id, assertions, claims, sign, check, [Symbol.asyncDispose]: close };
}

test('an assertion signed with the key of the document proves its client, for token endpoint or issuer', async () => {
  await using it = await setUp();
  for (const aud of [TOKEN_ENDPOINT, ISSUER, [ISSUER], [TOKEN_ENDPOINT, ISSUER]]) {
    assert.equal(await it.check(it.sign(it.claims({ aud }))), 'proven', String(aud));
  }
  assert.equal(await it.check(it.sign(it.claims(), 'curve', ec.privateKey, 'ES256')), 'proven');
  assert.equal(await it.check(it.sign(it.claims(), '')), 'proven');
  assert.deepEqual(it.host.requests, ['/keys']);
});

describe('an assertion is refused', () => {
  const WRONG: Readonly<Record<string, Record<string, unknown>>> = {
    'for another audience': { aud: 'https://other.example/oauth/token' },
    'for an audience that only begins like ours': { aud: `${ISSUER}.evil.example` },
    'addressed to another server too: that one could have passed it on': {
      aud: [ISSUER, 'https://evil.example'],
    },
    'without an audience': { aud: undefined },
    'of another issuer': { iss: 'https://other.example/client.json' },
    'of another subject': { sub: 'https://other.example/client.json' },
    'without a subject': { sub: undefined },
    'without an end': { exp: undefined },
    'without a jti': { jti: undefined },
  };
  for (const [what, changed] of Object.entries(WRONG)) {
    test(what, async () => {
      await using it = await setUp();
      assert.notEqual(await it.check(it.sign(it.claims(changed))), 'proven');
    });
  }

  test('when it is signed by a key that is not in the set', async () => {
    await using it = await setUp();
    assert.notEqual(await it.check(it.sign(it.claims(), 'one', otherRsa.privateKey)), 'proven');
    assert.notEqual(await it.check(it.sign(it.claims(), 'unknown', otherRsa.privateKey)), 'proven');
  });

  test('when it is not signed, or "signed" with the public key as an HMAC secret', async () => {
    await using it = await setUp();
    assert.notEqual(await it.check(new UnsecuredJWT(it.claims()).encode()), 'proven');
    const pem = new TextEncoder().encode(await exportSPKI(rsa.publicKey));
    const hmac = new SignJWT(it.claims()).setProtectedHeader({ alg: 'HS256', kid: 'one' }).sign(pem);
    assert.notEqual(await it.check(hmac), 'proven');
  });

  test('when it brings its own key, or tells where to find one', async () => {
    await using it = await setUp();
    const jwk = await publicJwk(otherRsa, 'one');
    const evil = it.host.serve('/evil', { keys: [jwk] });
    for (const header of [{ jwk }, { jku: evil }, { kid: evil }]) {
      const assertion = new SignJWT(it.claims())
        .setProtectedHeader({ alg: 'RS256', ...header })
        .sign(otherRsa.privateKey);
      assert.notEqual(await it.check(assertion), 'proven', JSON.stringify(header));
    }
    assert.ok(!it.host.requests.includes('/evil'));
  });

  test('when it is no JWT', async () => {
    await using it = await setUp();
    for (const text of ['x', 'a.b.c', '', '..', `${await it.sign(it.claims())}x`, '{}'])
      assert.notEqual(await it.check(text), 'proven', text);
  });

  test('when its client has no keys', async () => {
    await using it = await setUp();
    const assertion = await it.sign(it.claims());
    const refused = await it.assertions.check({ ...it.client, jwksUri: undefined }, assertion, HERE);
    assert.equal(refused?.reason, 'client_unauthenticated');
  });
});

describe('the time of an assertion', () => {
  const seconds = (it: { clock: { now: number } }) => Math.floor(it.clock.now / SECOND);
  test('has a leeway of 60 s at its end and at its beginning, and no more', async () => {
    await using it = await setUp();
    const now = seconds(it);
    for (const [changed, proven] of [
      [{ exp: now - 59 }, true],
      [{ exp: now - 61 }, false],
      [{ nbf: now + 59 }, true],
      [{ nbf: now + 61 }, false],
    ] as const) {
      const outcome = await it.check(it.sign(it.claims(changed)));
      assert.equal(outcome === 'proven', proven, JSON.stringify(changed));
    }
  });

  test('may span an hour: longer would have to be remembered longer', async () => {
    await using it = await setUp();
    assert.equal(await it.check(it.sign(it.claims({ exp: seconds(it) + 3600 }))), 'proven');
    assert.notEqual(await it.check(it.sign(it.claims({ exp: seconds(it) + 3660 }))), 'proven');
  });
});

describe('a jti', () => {
  test('is good once, also for two that come together, and until the assertion can no longer be used', async () => {
    await using it = await setUp();
    const assertion = await it.sign(it.claims({ exp: Math.floor(it.clock.now / SECOND) + 3600 }));
    const outcomes = await Promise.all([it.check(assertion), it.check(assertion)]);
    assert.equal(outcomes.filter((outcome) => outcome === 'proven').length, 1);
    for (const later of [MINUTE, 58 * MINUTE, MINUTE]) {
      it.clock.now += later;
      it.assertions.sweep();
      assert.notEqual(await it.check(assertion), 'proven');
    }
  });

  test('belongs to its client: the same one from another client is another', async () => {
    await using it = await setUp();
    const other = { ...it.client, id: `${it.id}?other` as typeof it.client.id };
    assert.equal(await it.check(it.sign(it.claims({ jti: 'same' }))), 'proven');
    const theirs = await it.sign(it.claims({ jti: 'same', iss: other.id, sub: other.id }));
    assert.equal(await it.assertions.check(other, theirs, HERE), undefined);
  });

  test('is not used up by an assertion that is refused', async () => {
    await using it = await setUp();
    await it.check(it.sign(it.claims({ jti: 'mine' }), 'one', otherRsa.privateKey));
    assert.equal(await it.check(it.sign(it.claims({ jti: 'mine' }))), 'proven');
  });
});

describe('the key set', () => {
  test('is fetched anew for a key that came since, after a pause of 30 s', async () => {
    await using it = await setUp();
    assert.equal(await it.check(it.sign(it.claims())), 'proven');
    it.host.serve('/keys', { keys: [await publicJwk(otherRsa, 'two')] });
    const withNewKey = () => it.check(it.sign(it.claims(), 'two', otherRsa.privateKey));
    assert.notEqual(await withNewKey(), 'proven');
    it.clock.now += 31 * SECOND;
    assert.equal(await withNewKey(), 'proven');
    assert.notEqual(await it.check(it.sign(it.claims())), 'proven', 'the old key is gone');
    assert.equal(it.host.requests.length, 2);
  });

  test('forgets a withdrawn key within ten minutes, though nobody uses the new one', async () => {
    await using it = await setUp();
    assert.equal(await it.check(it.sign(it.claims())), 'proven');
    it.host.serve('/keys', { keys: [await publicJwk(otherRsa, 'two')] });
    it.clock.now += 10 * MINUTE;
    assert.notEqual(await it.check(it.sign(it.claims())), 'proven');
  });

  test('that cannot be had refuses, and costs its host one fetch in 30 s, however many ask', async () => {
    await using it = await setUp();
    for (const listener of [
      () => it.host.route('/keys', (_request, response) => response.writeHead(500).end()),
      () => it.host.route('/keys', (_request, response) => response.writeHead(302, { Location: '/x' }).end()),
      () => it.host.serve('/keys', '<html>'),
      () => it.host.serve('/keys', { keys: 'none' }),
    ]) {
      listener();
      const before = it.host.requests.length;
      await Promise.all(
        [1, 2, 3].map(async () => assert.notEqual(await it.check(it.sign(it.claims())), 'proven')),
      );
      assert.notEqual(await it.check(it.sign(it.claims(), 'unknown')), 'proven');
      assert.equal(it.host.requests.length, before + 1);
      it.clock.now += 31 * SECOND;
    }
  });

  test('that fails later leaves the keys of before in force', async () => {
    await using it = await setUp();
    assert.equal(await it.check(it.sign(it.claims())), 'proven');
    it.host.route('/keys', (_request, response) => response.writeHead(500).end());
    it.clock.now += 11 * MINUTE;
    assert.equal(await it.check(it.sign(it.claims())), 'proven');
    for (let count = 0; count < 5; count += 1)
      assert.notEqual(await it.check(it.sign(it.claims(), 'unknown', otherRsa.privateKey)), 'proven');
    assert.equal(it.host.requests.length, 2);
  });

  for (const [what, breakDown] of [
    ['fails', (host) => host.route('/keys', (_request, response) => response.writeHead(500).end())],
    ['is garbage', (host) => host.serve('/keys', '<html>')],
  ] as const satisfies readonly (readonly [string, (host: DocumentHost) => unknown])[]) {
    test(`that ${what} when a new key is looked for says nothing against the client: it is asked to try again`, async () => {
      await using it = await setUp();
      const reason = async () => {
        const assertion = await it.sign(it.claims(), 'two', otherRsa.privateKey);
        return (await it.assertions.check(it.client, assertion, HERE))?.reason;
      };
      assert.equal(await it.check(it.sign(it.claims())), 'proven');
      it.clock.now += 31 * SECOND;
      breakDown(it.host);
      assert.equal(await reason(), 'client_keys_unavailable');
      it.clock.now += 29 * SECOND;
      assert.equal(await reason(), 'client_keys_unavailable');
      assert.equal(await it.check(it.sign(it.claims())), 'proven');
      it.host.serve('/keys', { keys: [await publicJwk(rsa, 'one')] });
      it.clock.now += SECOND;
      assert.equal(await reason(), 'client_unauthenticated');
      assert.equal(it.host.requests.length, 3);
    });
  }

  test('of several keys that an assertion without kid may mean is tried whole, up to ten keys', async () => {
    await using it = await setUp();
    const second = await publicJwk(otherRsa, 'two');
    const first = await publicJwk(rsa, 'one');
    it.host.serve('/keys', { keys: [first, second] });
    assert.equal(await it.check(it.sign(it.claims(), '')), 'proven');
    assert.equal(await it.check(it.sign(it.claims(), '', otherRsa.privateKey)), 'proven');
    const { privateKey } = await generateKeyPair('RS256');
    assert.equal(
      await it.check(it.sign(it.claims(), '', privateKey)),
      'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
    );
    const late = await it.sign(
      it.claims({ exp: Math.floor(it.clock.now / SECOND) - 100 }),
      '',
      otherRsa.privateKey,
    );
    assert.equal(await it.check(late), 'ERR_JWT_EXPIRED');
    it.host.serve('/keys', { keys: [...Array.from({ length: 10 }, () => first), second] });
    it.clock.now += 10 * MINUTE;
    assert.notEqual(await it.check(it.sign(it.claims(), '', otherRsa.privateKey)), 'proven');
  });

  test('is not fetched from a private address', async () => {
    await using it = await setUp();
    const now = () => it.clock.now;
    const places = placesOf(publicFetch({ ...it.host.network, isPublic: () => false }), now);
    const guarded = new ClientAssertions({ audiences: [ISSUER], places, now });
    const assertion = await it.sign(it.claims({ aud: ISSUER }));
    assert.notEqual(await guarded.check(it.client, assertion, HERE), undefined);
    assert.deepEqual(it.host.requests, []);
  });
});
