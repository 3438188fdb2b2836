/** The map of unfinished logins under floods: whose entry goes, what it costs, and what is left behind. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { MINUTE } from '../../src/base/clock.js';
import { networkOf } from '../../src/base/networks.js';
import type { AuthorizationRequest } from '../../src/oauth/authorization.js';
import { registerClient } from '../../src/oauth/clients.js';
import { isFault } from '../../src/oauth/fault.js';
import { type ConsentForm, isMisstep, PendingAuthorizations } from '../../src/oauth/pending.js';

function newClient() {
  const registration = registerClient({ redirect_uris: ['https://app.example/cb'] }, 0, randomBytes);
  assert.ok(!isFault(registration));
  return registration.client;
}

const requestOf = (client = newClient()): AuthorizationRequest => ({
  client,
  redirectUri: 'https://app.example/cb',
  state: undefined,
  scope: 'mcp',
  resource: 'https://mcp.example.org',
  codeChallenge: 'x',
});

function setUp(capacity = 10_000) {
  const clock = { now: 0 };
  const pending = new PendingAuthorizations({
    now: () => clock.now,
    random: randomBytes,
    ttlMs: 10 * MINUTE,
    capacity,
  });
  /** Each browser is at home in a network of its own, unless told otherwise. */
  const open = (request: AuthorizationRequest, browser: string, network = `network of ${browser}`) =>
    pending.open(request, { browser, network });
  const isOpen = ({ id, csrf }: ConsentForm, browser: string) =>
    !isMisstep(pending.consented(id, csrf, browser));
  return { clock, pending, open, isOpen };
}

test('a browser keeps its thirty newest logins; its flood costs no other browser one', () => {
  const { pending, open, isOpen } = setUp();
  const honest = open(requestOf(), 'honest');
  const flood = Array.from({ length: 100 }, () => open(requestOf(), 'flood'));
  assert.equal(pending.size, 31);
  assert.ok(isOpen(honest, 'honest'));
  assert.deepEqual(
    flood.map((form) => isOpen(form, 'flood')),
    flood.map((_, index) => index >= 70),
  );
});

test('a network keeps its thousand newest logins; its flood costs no other network one', () => {
  const { pending, open, isOpen } = setUp();
  const client = newClient();
  const honest = open(requestOf(client), 'honest');
  const clients = [client, newClient(), newClient(), newClient()];
  const flood = Array.from({ length: 2_500 }, (_, index) =>
    open(requestOf(clients[index % 4]), `browser ${index}`, 'the same'),
  );
  assert.equal(pending.size, 1_001);
  assert.ok(isOpen(honest, 'honest'));
  assert.deepEqual(
    flood.map((form, index) => isOpen(form, `browser ${index}`)),
    flood.map((_, index) => index >= 1_500),
  );
});

for (const kind of ['dynamic', 'document', 'registered'] as const) {
  test(`a ${kind} client that everybody uses cannot be flooded away from others, nor a network by one client`, () => {
    const { pending, open, isOpen } = setUp();
    const popular = { ...newClient(), kind };
    const elsewhere = open(requestOf(popular), 'elsewhere');
    const neighbour = open(requestOf(), 'neighbour', 'the same');
    for (let index = 0; index < 2_500; index += 1) open(requestOf(popular), `browser ${index}`, 'the same');
    assert.equal(pending.size, 502);
    assert.ok(isOpen(elsewhere, 'elsewhere'));
    assert.ok(isOpen(neighbour, 'neighbour'));
  });
}

test('when there is no room left, the network with the most logins makes some', () => {
  const { pending, open, isOpen } = setUp(100);
  const honest = Array.from({ length: 20 }, (_, index) => open(requestOf(), `honest ${index}`));
  for (let index = 0; index < 400; index += 1) open(requestOf(), `browser ${index}`, `network ${index % 8}`);
  assert.equal(pending.size, 100);
  assert.ok(honest.every((form, index) => isOpen(form, `honest ${index}`)));
});

test('an owner of many IPv6 networks is one when room is made, and each of them has its own cap otherwise', () => {
  const { pending, open, isOpen } = setUp(100);
  const honest = ['198.51.100.7', '2001:db8:2::1', '198.51.100.7'].map((address, index) =>
    open(requestOf(), `honest ${index}`, networkOf(address)),
  );
  for (let index = 0; index < 400; index += 1)
    open(requestOf(), `browser ${index}`, networkOf(`2001:db8:1:${index.toString(16)}::1`));
  assert.equal(pending.size, 100);
  assert.ok(honest.every((form, index) => isOpen(form, `honest ${index}`)));

  const roomy = setUp();
  const neighbour = roomy.open(requestOf(), 'neighbour', networkOf('2001:db8:1:1::1'));
  for (let index = 0; index < 1_500; index += 1)
    roomy.open(requestOf(), `browser ${index}`, networkOf('2001:db8:1:2::1'));
  assert.ok(roomy.isOpen(neighbour, 'neighbour'));
});

test('in all there are never more than the capacity: a flood ages out, it locks nobody out', () => {
  const { pending, open, isOpen } = setUp(50);
  for (let index = 0; index < 200; index += 1) open(requestOf(), `browser ${index}`);
  assert.equal(pending.size, 50);
  const honest = open(requestOf(), 'honest');
  assert.ok(isOpen(honest, 'honest'));
});

test('a login that ended or expired counts no more', () => {
  const { clock, pending, open, isOpen } = setUp();
  const first = open(requestOf(), 'browser');
  for (let index = 0; index < 29; index += 1) pending.close(open(requestOf(), 'browser').id);
  for (let index = 0; index < 29; index += 1) open(requestOf(), 'browser');
  assert.ok(isOpen(first, 'browser'));
  clock.now += 11 * MINUTE;
  pending.sweep();
  assert.equal(pending.size, 0);
  const all = Array.from({ length: 30 }, () => open(requestOf(), 'browser'));
  assert.ok(all.every((form) => isOpen(form, 'browser')));
});

test('opening one costs the same however many there are', () => {
  const millisecondsAmong = (others: number) => {
    const { open } = setUp();
    const clients = Array.from({ length: 20 }, newClient);
    const next = (index: number) =>
      open(requestOf(clients[index % clients.length]), `browser ${index % 7_000}`);
    for (let index = 0; index < others; index += 1) next(index);
    const started = performance.now();
    for (let index = 0; index < 2_000; index += 1) next(others + index);
    return performance.now() - started;
  };
  millisecondsAmong(100);
  const [few, many] = [millisecondsAmong(100), millisecondsAmong(9_000)];
  assert.ok(many < 10 * few + 50, `${few} ms among few, ${many} ms among many`);
});

test('the logins of one self-registered client share one copy of it', () => {
  const { open } = setUp();
  const client = newClient();
  const forms = [1, 2, 3].map((index) => open(requestOf({ ...client }), `browser ${index}`));
  assert.equal(new Set(forms.map((form) => form.request.client)).size, 1);
  const document = { ...newClient(), kind: 'document' as const };
  const older = open(requestOf(document), 'a');
  const newer = open(requestOf({ ...document, redirectUris: ['https://app.example/new'] }), 'b');
  assert.notEqual(older.request.client, newer.request.client);
});
