/** RFC 7662, for the resource servers of the operator. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { MINUTE } from '../../src/base/clock.js';
import { type ClientId, sha256 } from '../../src/base/ids.js';
import { openSqlite } from '../../src/store/sqlite.js';
import { openSqliteStore } from '../../src/store/sqlite-store.js';
import { type Stage, startStage, strangeToken } from '../support/connection.js';

const SECRET = 'the secret of the resource server';

/** A confidential client of the operator's, and what it is told. */
async function setUp() {
  const stage = await startStage();
  await addResourceServer(stage);
  const connection = await stage.connect('alice');
  const ask = (form: Record<string, string>) =>
    fetch(`${stage.broker.url}/oauth/introspect`, { method: 'POST', body: new URLSearchParams(form) });
  const introspect = async (token: string) => {
    const answer = await ask({ client_id: 'cl_rs', client_secret: SECRET, token });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    return (await answer.json()) as Record<string, unknown>;
  };
  return { stage, connection, ask, introspect, [Symbol.asyncDispose]: () => stage[Symbol.asyncDispose]() };
}

async function addResourceServer({ database, now }: Stage): Promise<void> {
  await using store = openSqliteStore(database);
  await store.addClient({
    id: 'cl_rs' as ClientId,
    kind: 'registered',
    name: 'Resource server',
    redirectUris: ['https://rs.example.org/unused'],
    authMethod: 'client_secret_post',
    secretHash: sha256(SECRET),
    jwksUri: undefined,
    grantTypes: ['authorization_code'],
    uri: undefined,
    createdAt: now(),
  });
}

describe('introspection', () => {
  test('tells what a living token is', async () => {
    await using it = await setUp();
    const { stage, connection } = it;
    const told = await it.introspect(connection.access);
    const { sub, ...rest } = told;
    assert.match(String(sub), /^us_/);
    assert.deepEqual(rest, {
      active: true,
      iss: stage.broker.url,
      aud: stage.broker.mcpUrl,
      client_id: connection.client.clientId,
      scope: 'mcp',
      exp: stage.now() / 1000 + 3600,
      token_type: 'Bearer',
    });
    assert.equal((await it.introspect(connection.refreshToken)).active, true);
  });

  test('says of an expired, revoked or unknown token that it is inactive, and nothing more', async () => {
    await using it = await setUp();
    const { access, refreshToken } = it.connection;
    assert.deepEqual(await it.introspect(strangeToken()), { active: false });
    it.stage.forward(60 * MINUTE);
    assert.deepEqual(await it.introspect(access), { active: false });
    const { clientId } = it.connection.client;
    const form = new URLSearchParams({ token: refreshToken, client_id: clientId });
    await fetch(`${it.stage.broker.url}/oauth/revoke`, { method: 'POST', body: form });
    assert.deepEqual(await it.introspect(refreshToken), { active: false });
  });

  test('says of a rotated refresh token what a refresh would: active in its grace time, inactive afterwards', async () => {
    await using it = await setUp();
    const { connection, stage } = it;
    const active = async (token: string) => (await it.introspect(token)).active;
    const first = connection.refreshToken;
    await connection.refresh();
    const second = connection.refreshToken;
    stage.forward(10 * MINUTE);
    assert.equal(await active(first), true, 'its successor was not used: the answer may have been lost');
    await connection.refresh();
    assert.equal(await active(first), false);
    assert.equal(await active(second), true, 'within its grace time');
    stage.forward(2 * MINUTE);
    await connection.refresh();
    assert.equal(await active(second), true, 'the last moment of its grace time');
    stage.forward(1);
    assert.equal(await active(second), false);
    // To look is not to use: nothing was revoked by it.
    assert.equal(await active(connection.refreshToken), true);
    assert.equal((await connection.refresh()).status, 200);
    assert.equal(stage.count('refresh.reused'), 0);
  });

  test('says of a refresh token over its cap that it is inactive', async () => {
    await using it = await setUp();
    const { connection } = it;
    for (let count = 0; count < 50; count += 1) await connection.tryRefresh();
    assert.deepEqual(await it.introspect(connection.refreshToken), { active: false });
  });

  test('says of the tokens of a user whose sign-in at Forgejo has ended that they are inactive', async () => {
    await using it = await setUp();
    const { access, refreshToken } = it.connection;
    const { db, close } = openSqlite(it.stage.database);
    db.run(sql`update credentials set state = 'dead'`);
    close();
    for (const token of [access, refreshToken])
      assert.deepEqual(await it.introspect(token), { active: false });
  });

  test('says of the tokens of a user whose credential no key opens any more that they are inactive', async () => {
    await using it = await setUp();
    const { access, refreshToken } = it.connection;
    await it.stage.broker.restart({ BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 2).toString('base64') });
    for (const token of [access, refreshToken])
      assert.deepEqual(await it.introspect(token), { active: false });
  });

  test('is for confidential clients of the operator only', async () => {
    await using it = await setUp();
    const token = it.connection.access;
    const { clientId } = it.connection.client;
    for (const form of [
      { token },
      { token, client_id: clientId },
      { token, client_id: 'cl_rs' },
      { token, client_id: 'cl_rs', client_secret: 'wrong' },
    ]) {
      const { status } = await it.ask(form);
      assert.ok(status === 401 || status === 400, String(status));
    }
  });
});
