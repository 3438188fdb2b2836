/** One living credential per user: refreshed once, stored before use, never lost to a Forgejo that is merely down. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { MINUTE } from '../../src/base/clock.js';
import { Secret } from '../../src/base/secret.js';
import { KeyRing } from '../../src/identity/sealing.js';
import { IDENTITY, setUpCredentials, USER } from '../support/credentials.js';

const pairOf = (now: number) => ({
  access: new Secret('access of the code'),
  refresh: new Secret('refresh of the code'),
  issuedAt: now,
  expiresAt: now + 60 * MINUTE,
});

test('a token far from its end is given as it is', async () => {
  await using it = await setUpCredentials();
  it.forward(54 * MINUTE);
  assert.equal(await it.read(), 'access first');
  assert.equal(it.upstream.asked.length, 0);
  assert.deepEqual(await it.refreshes(), {});
});

test('a token near its end is refreshed once, however many ask', async () => {
  await using it = await setUpCredentials();
  it.forward(56 * MINUTE);
  const readers = Array.from({ length: 20 }, () => it.read());
  await it.untilAsked();
  it.upstream.answer('second');
  assert.deepEqual(new Set(await Promise.all(readers)), new Set(['access second']));
  assert.deepEqual(await it.refreshes(), { refreshed: 1 });
  assert.equal(it.upstream.asked.length, 0);
  assert.equal(await it.read(), 'access second');
});

test('a refreshed pair that the store cannot take is not lost: it is stored at the next try', async () => {
  await using it = await setUpCredentials({ failingWrites: 1 });
  it.forward(56 * MINUTE);
  const reading = it.read();
  await it.untilAsked();
  it.upstream.answer('second');
  await assert.rejects(reading, /disk full/);
  assert.deepEqual(await it.refreshes(), { unsaved: 1 });
  assert.equal(await it.read(), 'access second');
  assert.equal(it.upstream.asked.length, 0);
});

test('a dead refresh token retires the credential, and a new sign-in revives the user', async () => {
  await using it = await setUpCredentials();
  it.forward(56 * MINUTE);
  const reading = it.read();
  await it.untilAsked();
  it.upstream.fail('signed_out');
  assert.equal(await reading, 'signed_out');
  assert.deepEqual(await it.refreshes(), { signed_out: 1 });
  assert.equal((await it.store.findCredential(USER))?.state, 'dead');
  await it.signIn(2, 'access again');
  assert.equal(await it.read(), 'access again');
});

for (const kind of ['unreachable', 'misconfigured'] as const) {
  test(`while Forgejo is ${kind} the old token serves until its end, and nothing is deleted`, async () => {
    await using it = await setUpCredentials();
    it.forward(56 * MINUTE);
    const early = it.read();
    await it.untilAsked();
    it.upstream.fail(kind);
    assert.equal(await early, 'access first');
    it.forward(10 * MINUTE);
    const late = it.read();
    await it.untilAsked();
    it.upstream.fail(kind);
    assert.equal(await late, kind);
    assert.deepEqual(await it.refreshes(), { [kind]: 2 });
    assert.equal((await it.store.findCredential(USER))?.state, 'alive');
  });
}

test('a sign-in during a refresh wins over it', async () => {
  await using it = await setUpCredentials();
  it.forward(56 * MINUTE);
  const reading = it.read();
  await it.untilAsked();
  await it.signIn(2, 'access of the new login');
  it.upstream.answer('of the refresh');
  assert.equal(await reading, 'access of the new login');
  assert.deepEqual(await it.refreshes(), { superseded: 1 });
});

test('a dead answer to an old refresh token does not retire the credential of a sign-in meanwhile', async () => {
  await using it = await setUpCredentials();
  it.forward(56 * MINUTE);
  const reading = it.read();
  await it.untilAsked();
  await it.signIn(2, 'access of the new login');
  it.upstream.fail('signed_out');
  assert.equal(await reading, 'access of the new login');
});

test('codes that are redeemed all the time keep no dead credential from being told as dead', async () => {
  await using it = await setUpCredentials();
  it.forward(56 * MINUTE);
  const early = it.unsaved.redeem('made up by a stranger', 'v');
  const reading = it.read();
  await it.untilAsked();
  it.upstream.fail('signed_out');
  await turn();
  assert.equal((await it.store.findCredential(USER))?.state, 'alive', 'it may be the code of this user');
  // A second one before the first ends, and so on.
  void it.unsaved.redeem('made up as well', 'v');
  it.upstream.codes.shift()?.({ kind: 'denied', detail: 'no such code' });
  await early;
  assert.equal(await reading, 'signed_out');
});

test('a code that is redeemed when the pair is refused is waited for: it may have killed that pair', async () => {
  await using it = await setUpCredentials();
  it.forward(61 * MINUTE);
  const redeeming = it.unsaved.redeem('code', 'v');
  const reading = it.read();
  await it.untilAsked();
  it.upstream.fail('signed_out');
  await turn();
  it.upstream.codes.shift()?.(pairOf(it.now()));
  await redeeming;
  assert.equal(await reading, 'access of the code');
  assert.deepEqual(it.signedOut, []);
});

test('a refused pair whose token still lives serves while a sign-in is not identified', async () => {
  await using it = await setUpCredentials();
  it.forward(56 * MINUTE);
  const redeeming = it.unsaved.redeem('code', 'v');
  it.upstream.codes.shift()?.(pairOf(it.now()));
  await redeeming;
  it.upstream.say('unreachable');
  const reading = it.read();
  await it.untilAsked();
  it.upstream.fail('signed_out');
  assert.equal(await reading, 'access first');
  it.forward(5 * MINUTE);
  const late = it.read();
  await it.untilAsked();
  it.upstream.fail('signed_out');
  assert.equal(await late, 'unreachable');
});

test('a barred user is found out at the refresh', async () => {
  await using it = await setUpCredentials();
  it.forward(56 * MINUTE);
  it.upstream.say('barred');
  const reading = it.read();
  await it.untilAsked();
  it.upstream.answer('second');
  assert.equal(await reading, 'barred');
  assert.deepEqual(await it.refreshes(), { barred: 1 });
  assert.equal(await it.read(), 'signed_out');
});

test('a short-lived token is refreshed only when two thirds of its life are over', async () => {
  await using it = await setUpCredentials();
  it.forward(56 * MINUTE);
  const reading = it.read();
  await it.untilAsked();
  it.upstream.answer('short', 60);
  assert.equal(await reading, 'access short');
  it.forward(30_000);
  assert.equal(await it.read(), 'access short');
});

test('a sealed credential opens with its key, for its user, unaltered, and not otherwise', async () => {
  await using it = await setUpCredentials();
  const row = await it.store.findCredential(USER);
  assert.ok(row);
  assert.equal(it.keys.open(row)?.access.reveal(), 'access first');
  assert.equal(row.sealed.includes('access first'), false);
  assert.equal(it.keys.open({ ...row, identity: { ...IDENTITY, subject: '8' } }), undefined);
  const altered = Buffer.from(row.sealed);
  altered.writeUInt8(altered.readUInt8(20) ^ 1, 20);
  assert.equal(it.keys.open({ ...row, sealed: altered }), undefined);
  assert.equal(new KeyRing([randomBytes(32)], randomBytes).open(row), undefined);
});

test('a new first key seals, and the old one still opens', async () => {
  const [older, newer] = [randomBytes(32), randomBytes(32)];
  const tokens = { access: new Secret('a'), refresh: undefined, issuedAt: 0, expiresAt: 1 };
  const row = { userId: USER, identity: IDENTITY, version: 1, state: 'alive' } as const;
  const old = new KeyRing([older], randomBytes).seal(IDENTITY, tokens);
  const ring = new KeyRing([newer, older], randomBytes);
  assert.equal(ring.open({ ...row, ...old })?.access.reveal(), 'a');
  assert.notEqual(ring.seal(IDENTITY, tokens).keyId, old.keyId);
});
