/** The audit trail: what a flood of refusals may write, and what a failing store may cost. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { MINUTE } from '../../src/base/clock.js';
import type { UserId } from '../../src/base/ids.js';
import { createRecordingLog } from '../../src/base/log.js';
import { type AuditEvent, createAudit } from '../../src/oauth/audit.js';

function setUp(addAuditEvent?: () => Promise<void>) {
  const rows: AuditEvent[] = [];
  const logged: string[] = [];
  const clock = { now: 1_800_000_000_000 };
  const audit = createAudit({
    store: { addAuditEvent: addAuditEvent ?? (async (event) => void rows.push(event)) },
    log: createRecordingLog((_level, event) => logged.push(event)),
    now: () => clock.now,
    random: randomBytes,
  });
  return { audit, rows, logged, clock };
}

test('the same refusal within a minute is logged each time and shares one row and id', async () => {
  const { audit, rows, logged, clock } = setUp();
  const refuse = () => audit('token.refused', { reason: 'code_unknown', client: 'cl_1' });
  const ids = [await refuse(), await refuse(), await refuse()];
  assert.equal(new Set(ids).size, 1);
  assert.equal(rows.length, 1);
  assert.equal(logged.length, 3);
  clock.now += MINUTE;
  await refuse();
  await audit('token.refused', { reason: 'code_unknown', client: 'cl_2' });
  assert.equal(rows.length, 3);
});

test('clients that do not exist cannot be made up to write many rows', async () => {
  const { audit, rows } = setUp();
  for (let index = 0; index < 100; index += 1) {
    await audit('authorization.refused', { reason: 'client_unknown', client: `made up ${index}` });
  }
  assert.equal(rows.length, 1);
});

test('a row that many share says nothing of one of them: who quotes it is not told of a stranger', async () => {
  const { audit, rows } = setUp();
  const refuse = (reason: string, client: string, user: string) =>
    audit('token.refused', { reason, client, user: user as UserId });
  const made = [
    await refuse('client_unknown', 'evil', 'us_1'),
    await refuse('client_unknown', 'cl_1', 'us_2'),
  ];
  assert.equal(new Set(made).size, 1);
  assert.deepEqual(
    rows.map(({ client, user }) => [client, user]),
    [[undefined, undefined]],
  );
  // A client that many users share.
  await refuse('mcp: user_signed_out', 'https://app.example/client.json', 'us_1');
  await refuse('mcp: user_signed_out', 'https://app.example/client.json', 'us_2');
  assert.deepEqual(
    rows.slice(1).map(({ user }) => user),
    ['us_1', 'us_2'],
  );
});

test('in a flood of refusals all clients share a row for each reason, and each refusal stands in the log', async () => {
  const { audit, rows, logged, clock } = setUp();
  for (let index = 0; index < 1_000; index += 1) {
    await audit('authorization.refused', { reason: 'redirect_uri_unregistered', client: `cl_${index}` });
    await audit('sign_in.refused', { reason: `not_allowed: Forgejo user ${index}`, client: 'cl_1' });
  }
  assert.equal(rows.length, 102);
  assert.equal(logged.length, 2_000);
  assert.deepEqual(
    rows.slice(-2).map(({ reason, client }) => [reason, client]),
    [
      ['redirect_uri_unregistered', undefined],
      ['not_allowed', undefined],
    ],
  );
  clock.now += MINUTE;
  await audit('authorization.refused', { reason: 'redirect_uri_unregistered', client: 'cl_1' });
  assert.equal(rows.at(-1)?.client, 'cl_1');
});

test('registrations by strangers are such a flood too; those of the operator are not', async () => {
  const { audit, rows, logged } = setUp();
  for (let index = 0; index < 1_000; index += 1) await audit('client.registered', { client: `cl_${index}` });
  assert.equal(rows.length, 101);
  assert.equal(rows.at(-1)?.client, undefined);
  assert.equal(logged.length, 1_000);
  await audit('client.registered', { client: 'cl_own', reason: 'operator' });
  assert.deepEqual([rows.length, rows.at(-1)?.client], [102, 'cl_own']);
});

test('the same refusal by many at once is one row', async () => {
  const { audit, rows } = setUp();
  const refuse = () => audit('token.refused', { reason: 'code_unknown', client: 'cl_1' });
  assert.equal(new Set(await Promise.all([refuse(), refuse(), refuse()])).size, 1);
  assert.equal(rows.length, 1);
});

test('what was granted is a row each time', async () => {
  const { audit, rows } = setUp();
  await audit('grant.made', { client: 'cl_1' });
  await audit('grant.made', { client: 'cl_1' });
  assert.equal(rows.length, 2);
});

test('a store that takes no row costs nobody an answer, and the log says which event it lost', async () => {
  const { audit, logged } = setUp(() => Promise.reject(new Error('disk full')));
  assert.match(await audit('grant.made', { client: 'cl_1' }), /^au_/);
  assert.deepEqual(logged, ['grant.made', 'audit.lost']);
});
