/** The map of unfinished logins under floods: whose entry goes, what it costs, and what is left behind. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { MINUTE } from '../../src/base/clock.js';
import type { AuthorizationRequest } from '../../src/oauth/authorization.js';
import { registerClient } from '../../src/oauth/clients.js';
import { isFault } from '../../src/oauth/fault.js';
import { type ConsentForm, PendingAuthorizations } from '../../src/oauth/pending.js';

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
  const isOpen = ({ id, csrf }: ConsentForm, browser: string) =>
    pending.consented(id, csrf, browser) !== undefined;
  return { clock, pending, isOpen };
}

test('a browser keeps its thirty newest logins; its flood costs no other browser one', () => {
  const { pending, isOpen } = setUp();
  const honest = pending.open(requestOf(), 'honest');
  const flood = Array.from({ length: 100 }, () => pending.open(requestOf(), 'flood'));
  assert.equal(pending.size, 31);
  assert.ok(isOpen(honest, 'honest'));
  assert.deepEqual(
    flood.map((form) => isOpen(form, 'flood')),
    flood.map((_, index) => index >= 70),
  );
});

test('a client keeps its two thousand newest logins; its flood costs no other client one', () => {
  const { pending, isOpen } = setUp();
  const honest = pending.open(requestOf(), 'honest');
  const client = newClient();
  for (let index = 0; index < 2_500; index += 1) pending.open(requestOf(client), `browser ${index}`);
  assert.equal(pending.size, 2_001);
  assert.ok(isOpen(honest, 'honest'));
});

test('in all there are never more than the capacity: a flood ages out, it locks nobody out', () => {
  const { pending, isOpen } = setUp(50);
  for (let index = 0; index < 200; index += 1) pending.open(requestOf(), `browser ${index}`);
  assert.equal(pending.size, 50);
  const honest = pending.open(requestOf(), 'honest');
  assert.ok(isOpen(honest, 'honest'));
});

test('a login that ended or expired counts no more', () => {
  const { clock, pending, isOpen } = setUp();
  const first = pending.open(requestOf(), 'browser');
  for (let index = 0; index < 29; index += 1) pending.close(pending.open(requestOf(), 'browser').id);
  for (let index = 0; index < 29; index += 1) pending.open(requestOf(), 'browser');
  assert.ok(isOpen(first, 'browser'));
  clock.now += 11 * MINUTE;
  pending.sweep();
  assert.equal(pending.size, 0);
  const all = Array.from({ length: 30 }, () => pending.open(requestOf(), 'browser'));
  assert.ok(all.every((form) => isOpen(form, 'browser')));
});

test('opening one costs the same however many there are', () => {
  const open = (others: number) => {
    const { pending } = setUp();
    const clients = Array.from({ length: 20 }, newClient);
    const next = (index: number) =>
      pending.open(requestOf(clients[index % clients.length]), `browser ${index % 7_000}`);
    for (let index = 0; index < others; index += 1) next(index);
    const started = performance.now();
    for (let index = 0; index < 2_000; index += 1) next(others + index);
    return performance.now() - started;
  };
  open(100);
  const [few, many] = [open(100), open(9_000)];
  assert.ok(many < 10 * few + 50, `${few} ms among few, ${many} ms among many`);
});

test('the logins of one self-registered client share one copy of it', () => {
  const { pending } = setUp();
  const client = newClient();
  const forms = [1, 2, 3].map((index) => pending.open(requestOf({ ...client }), `browser ${index}`));
  assert.equal(new Set(forms.map((form) => form.request.client)).size, 1);
  const document = { ...newClient(), kind: 'document' as const };
  const older = pending.open(requestOf(document), 'a');
  const newer = pending.open(requestOf({ ...document, redirectUris: ['https://app.example/new'] }), 'b');
  assert.notEqual(older.request.client, newer.request.client);
});
