/** What programs cause at the endpoints of clients, as an operator finds it in the audit trail. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AuditKind } from '../../src/oauth/audit.js';
import { openSqliteAdmin } from '../../src/store/sqlite-admin.js';
import { type Stage, startStage } from '../support/connection.js';

async function events({ database }: Stage, kind: AuditKind) {
  using admin = openSqliteAdmin(database);
  return (await admin.listAudit({ kind, limit: 100 })).toReversed();
}

const post = ({ broker }: Stage, path: string, body: string | Readonly<Record<string, string>>) =>
  fetch(broker.url + path, {
    method: 'POST',
    body: typeof body === 'string' ? body : new URLSearchParams(body),
  });

describe('a token that a client gives back', () => {
  test('is an event, be it an access token or a refresh token, and says whose and which', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    const client = connection.client.clientId;
    const { access, refreshToken } = connection;
    for (const token of [access, access, refreshToken, refreshToken]) {
      assert.equal((await post(stage, '/oauth/revoke', { token, client_id: client })).status, 200);
    }
    const [made] = await events(stage, 'grant.made');
    assert.ok(made?.grant);
    assert.deepEqual(
      (await events(stage, 'token.revoked')).map((event) => [event.client, event.grant, event.reason]),
      ['access_token', 'refresh_token'].map((reason) => [client, made.grant, reason]),
    );
  });

  test('but is not its own, or none, is no event', async () => {
    await using stage = await startStage();
    const [alice, bob] = [await stage.connect('alice'), await stage.connect('bob')];
    for (const token of [alice.access, alice.refreshToken, 'fja_made_up']) {
      await post(stage, '/oauth/revoke', { token, client_id: bob.client.clientId });
    }
    assert.deepEqual(await events(stage, 'token.revoked'), []);
    assert.ok(await alice.isAlive());
  });
});

test('a registration that is refused is an event with its reason, and none of the words of its sender', async () => {
  await using stage = await startStage();
  for (const metadata of [
    { redirect_uris: ['http://evil.example/cb'], client_name: 'evil' },
    { redirect_uris: 'evil' },
    { redirect_uris: ['https://app.example/cb'], grant_types: ['evil'] },
  ]) {
    assert.equal((await post(stage, '/oauth/register', JSON.stringify(metadata))).status, 400);
  }
  const refused = await events(stage, 'client.refused');
  assert.deepEqual(
    refused.map(({ reason }) => reason?.split(':')[0]),
    ['redirect_uri_refused', 'metadata_refused', 'metadata_refused'],
  );
  assert.doesNotMatch(JSON.stringify(refused), /evil/);
});

test('a client that is unknown, or fails to prove itself, is named as it names itself, within bounds', async () => {
  await using stage = await startStage();
  const metadata = {
    redirect_uris: ['https://app.example/cb'],
    token_endpoint_auth_method: 'client_secret_post',
  };
  const answer = await post(stage, '/oauth/register', JSON.stringify(metadata));
  const { client_id } = (await answer.json()) as { client_id: string };
  for (const path of ['/oauth/token', '/oauth/revoke', '/oauth/introspect']) {
    const before = stage.broker.log.length;
    for (const id of [client_id, `cl_${'x'.repeat(300)}`]) {
      assert.equal((await post(stage, path, { client_id: id, client_secret: 'guess' })).status, 401);
    }
    const logged = stage.broker.log.slice(before).filter(({ event }) => event === 'token.refused');
    assert.deepEqual(
      logged.map(({ fields }) => [fields.reason, fields.client]),
      [
        ['client_unauthenticated: wrong secret', client_id],
        ['client_unknown', `cl_${'x'.repeat(197)}`],
      ],
      path,
    );
  }
  // The row of an unknown client is shared by all of them within a minute.
  assert.deepEqual(
    (await events(stage, 'token.refused')).map(({ reason, client }) => [reason, client ?? undefined]),
    [
      ['client_unauthenticated: wrong secret', client_id],
      ['client_unknown', undefined],
    ],
  );
});

test('requests above a limit are a few lines with network and path, however many they are', async () => {
  await using stage = await startStage();
  for (let n = 0; n < 75; n += 1) await post(stage, '/oauth/register', '{}');
  const lines = stage.broker.log.filter(({ event }) => event === 'request.limited');
  assert.deepEqual(
    lines.map(({ fields }) => [fields.path, fields.network, fields.count]),
    [1, 10].map((count) => ['/oauth/register', '127.0.0.1', count]),
  );
});
