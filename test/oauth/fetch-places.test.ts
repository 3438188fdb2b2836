/** The few fetches that strangers may make us do at once: who gets a place, and what the others are told. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MINUTE } from '../../src/base/clock.js';
import { createRecordingLog } from '../../src/base/log.js';
import { networkOf } from '../../src/base/networks.js';
import type { PublicFailure, PublicFetch, PublicResponse } from '../../src/base/public-fetch.js';
import { ClientAssertions } from '../../src/oauth/client-assertions.js';
import { ClientDocuments, readDocument } from '../../src/oauth/client-documents.js';
import { FetchPlaces } from '../../src/oauth/fetch-places.js';

const ISSUER = 'https://mcp.example.org';
const OPTIONS = { timeoutMs: 5_000, maxBytes: 1024 };
const STUCK = 'https://keys.example/jwks.json';

/** Hosts that answer when they are told to. */
function setUp() {
  const clock = { now: 0 };
  const open = new Map<string, ((answer: PublicResponse | PublicFailure) => void)[]>();
  const asked: string[] = [];
  const told: unknown[] = [];
  const fetch: PublicFetch = (url) => {
    asked.push(url);
    return new Promise((resolve) => open.set(url, [...(open.get(url) ?? []), resolve]));
  };
  const now = () => clock.now;
  const log = createRecordingLog((_level, event, fields) => {
    if (event === 'fetch.no_place') told.push(fields.full);
  });
  const places = new FetchPlaces({ fetch, now, log });
  const documents = new ClientDocuments({ hosts: 'any', places, stored: async () => undefined, now, log });
  const assertions = new ClientAssertions({ audiences: [ISSUER], places, now });
  const answer = (url: string, body?: object) => {
    for (const resolve of open.get(url) ?? [])
      resolve(
        body === undefined
          ? { failure: 'timeout' }
          : { status: 200, contentType: 'application/json', text: JSON.stringify(body), headers: {} },
      );
    open.delete(url);
  };
  return { clock, asked, told, places, documents, assertions, answer };
}

/** Takes `count` places for good, each by the host and the network of its number. */
function fill(
  places: FetchPlaces,
  count: number,
  host: (n: number) => string,
  network: (n: number) => string,
) {
  const outcomes: string[] = [];
  for (let n = 0; n < count; n += 1) {
    void places
      .fetch(`https://${host(n)}/${n}`, network(n), OPTIONS)
      .then((outcome) => outcomes.push(typeof outcome === 'string' ? outcome : 'answered'));
  }
  return outcomes;
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('of the places for fetches', () => {
  test('one network gets five, however many hosts it names; another network gets its own', async () => {
    const { places, asked, documents, answer } = setUp();
    const outcomes = fill(
      places,
      20,
      (n) => `slow${n}.example`,
      () => 'attacker',
    );
    await settled();
    assert.equal(asked.length, 5);
    assert.deepEqual(
      outcomes,
      Array.from({ length: 15 }, () => 'no_place'),
    );
    const id = 'https://client.example/client.json';
    const found = documents.find(id, 'somebody else');
    answer(id, { client_id: id, redirect_uris: ['https://client.example/cb'] });
    assert.equal(typeof (await found), 'object');
  });

  test('one IPv6 /48 gets five, however many networks it has', async () => {
    const { places, asked } = setUp();
    const fillFrom = (prefix: string) =>
      fill(
        places,
        20,
        (n) => `slow${prefix}${n}.example`.replaceAll(':', '-'),
        (n) => networkOf(`${prefix}:${n}::1`),
      );
    fillFrom('2001:db8:1');
    await settled();
    assert.equal(asked.length, 5);
    fillFrom('2001:db8:2');
    assert.equal(asked.length, 10);
  });

  test('one host gets five, however many networks ask for it; another host gets its own', async () => {
    const { places, asked } = setUp();
    fill(
      places,
      20,
      () => 'slow.example',
      (n) => `network ${n}`,
    );
    await settled();
    assert.equal(asked.length, 5);
    fill(
      places,
      1,
      () => 'other.example',
      () => 'network 1',
    );
    assert.equal(asked.length, 6);
  });

  test('there are fifty in all, and a fetch that ends gives its place back, well or not', async () => {
    const { places, asked, answer } = setUp();
    fill(
      places,
      60,
      (n) => `slow${n}.example`,
      (n) => `network ${n}`,
    );
    await settled();
    assert.equal(asked.length, 50);
    answer('https://slow0.example/0');
    answer('https://slow1.example/1', {});
    await settled();
    fill(
      places,
      3,
      (n) => `late${n}.example`,
      (n) => `late network ${n}`,
    );
    assert.equal(asked.length, 52);
  });

  test('a lack is logged once a minute, and says whose part is full', async () => {
    const { places, clock, told } = setUp();
    fill(
      places,
      50,
      (n) => `slow${n}.example`,
      () => 'attacker',
    );
    clock.now += MINUTE;
    fill(
      places,
      2,
      () => 'any.example',
      () => 'attacker',
    );
    assert.deepEqual(told, ['network attacker', 'network attacker']);
  });
});

describe('a client whose document finds no place', () => {
  const ID = 'https://client.example/client.json';
  const full = () => {
    const it = setUp();
    fill(
      it.places,
      5,
      (n) => `slow${n}.example`,
      () => 'crowded',
    );
    return it;
  };

  test('is not unknown, and is not remembered as failed: the next one who asks may get it', async () => {
    const { documents, answer } = full();
    assert.equal(await documents.find(ID, 'crowded'), 'no_place');
    const found = documents.find(ID, 'elsewhere');
    answer(ID, { client_id: ID, redirect_uris: ['https://client.example/cb'] });
    assert.equal(typeof (await found), 'object');
  });

  test('is found all the same while somebody else fetches it, where it is kept, or when we know it by heart', async () => {
    const { documents, answer, clock } = full();
    const found = documents.find(ID, 'elsewhere');
    const joined = documents.find(ID, 'crowded');
    answer(ID, { client_id: ID, redirect_uris: ['https://client.example/cb'] });
    assert.equal(await joined, await found);
    clock.now += 10 * MINUTE;
    assert.equal(await documents.find(ID, 'crowded'), await found);
    const known = await documents.find('https://claude.ai/oauth/mcp-oauth-client-metadata', 'crowded');
    assert.ok(typeof known === 'object' && known.pinned);
  });
});

describe('keys that find no place', () => {
  const client = readDocument(
    'https://client.example/client.json',
    JSON.stringify({
      client_id: 'https://client.example/client.json',
      redirect_uris: ['https://client.example/cb'],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks_uri: STUCK,
    }),
    0,
  );
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const assertion = `${encode({ alg: 'RS256', kid: 'new' })}.${encode({})}.AAAA`;

  test('are no fault of their client, at the first fetch or at one for a new key, and cost it no pause', async () => {
    const { places, assertions, answer, asked, clock } = setUp();
    assert.ok(!('problem' in client));
    const reason = async (network: string) => (await assertions.check(client, assertion, network))?.reason;
    fill(
      places,
      5,
      (n) => `slow${n}.example`,
      () => 'crowded',
    );
    assert.equal(await reason('crowded'), 'client_keys_unavailable');
    const elsewhere = reason('elsewhere');
    await settled();
    answer(STUCK, { keys: [] });
    assert.equal(await elsewhere, 'client_unauthenticated');
    clock.now += MINUTE;
    assert.equal(await reason('crowded'), 'client_keys_unavailable');
    const again = reason('elsewhere');
    await settled();
    assert.equal(asked.filter((url) => url === STUCK).length, 2);
    answer(STUCK, { keys: [] });
    assert.equal(await again, 'client_unauthenticated');
  });
});
