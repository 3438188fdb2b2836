/** Refresh that never logs anybody out and never lets a thief stay, on a real broker whose clock the test moves. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { describe, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { DAY, MINUTE, SECOND } from '../../src/base/clock.js';
import { openSqlite } from '../../src/store/sqlite.js';
import {
  type Connection,
  type Stage,
  startStage,
  strangeToken,
  type TokenAnswer,
} from '../support/connection.js';

/** Two addresses of a hosted client, as a trusted proxy reports them. */
const EGRESS = ['160.79.104.10', '160.79.111.9'] as const;
const GRACE = 2 * MINUTE;
const MOST_ROTATIONS = 50;

const text = (answer: TokenAnswer, member: string): string => {
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  assert.equal(typeof answer.body[member], 'string');
  return String(answer.body[member]);
};
const refused = ({ status, body }: TokenAnswer) => [status, body.error];

/** Sends a refresh and hangs up when the answer begins: the broker has done it, the client knows nothing. */
function loseAnswer(stage: Stage, { client }: Connection, token: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `${stage.broker.url}/oauth/token`,
      { method: 'POST', headers: { 'Content-Type': 'application/x-www-form-urlencoded' } },
      (response) => {
        assert.equal(response.statusCode, 200);
        response.destroy();
        resolve();
      },
    );
    sent.once('error', reject);
    const form = { grant_type: 'refresh_token', refresh_token: token, client_id: client.clientId };
    sent.end(new URLSearchParams(form).toString());
  });
}

describe('the same refresh token', () => {
  test('in 20 hands at once, from two addresses, one answer lost, gives everybody tokens that work and refresh', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    const { refreshToken, access } = connection;
    const parallel = Array.from({ length: 19 }, (_, n) =>
      connection.tryRefresh(refreshToken, {}, { 'X-Forwarded-For': EGRESS[n % 2] ?? '' }),
    );
    await Promise.all([...parallel, loseAnswer(stage, connection, refreshToken)]);
    stage.forward(76 * SECOND);
    const retried = await connection.tryRefresh(refreshToken);

    const answers = [...(await Promise.all(parallel)), retried];
    assert.equal(new Set(answers.map((answer) => text(answer, 'refresh_token'))).size, 20);
    assert.ok(await connection.isAlive(access));
    for (const answer of answers) {
      assert.ok(await connection.isAlive(text(answer, 'access_token')));
      const next = await connection.tryRefresh(text(answer, 'refresh_token'));
      assert.ok(await connection.isAlive(text(next, 'access_token')));
    }
    assert.equal(stage.count('refresh.reused'), 0);
  });

  test('works again until the last moment of the grace time, though its successor was used', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    const first = connection.refreshToken;
    await connection.refresh();
    await connection.refresh();
    stage.forward(GRACE);
    const again = await connection.tryRefresh(first);
    assert.ok(await connection.isAlive(text(again, 'access_token')));
    assert.equal((await connection.refresh()).status, 200);
  });

  test('works again days later while no successor was used: every answer may have been lost', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    await loseAnswer(stage, connection, connection.refreshToken);
    stage.forward(3 * DAY);
    await loseAnswer(stage, connection, connection.refreshToken);
    stage.forward(3 * DAY);
    assert.equal((await connection.refresh()).status, 200);
    assert.ok(await connection.isAlive());
    assert.equal((await connection.refresh()).status, 200);
  });

  test('shown 10 minutes after its successor was used ends the family: every token is dead, and it is audited', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    const other = await stage.connect('alice');
    const stolen = connection.refreshToken;
    const accesses = [connection.access];
    for (const _ of [1, 2]) {
      await connection.refresh();
      accesses.push(connection.access);
    }
    stage.forward(10 * MINUTE);
    assert.deepEqual(refused(await connection.tryRefresh(stolen)), [400, 'invalid_grant']);
    for (const access of accesses) assert.equal(await connection.statusOf(access), 401);
    assert.deepEqual(refused(await connection.refresh()), [400, 'invalid_grant']);

    const events = stage.broker.log.filter(({ event }) => event === 'refresh.reused');
    assert.equal(events.length, 1);
    assert.equal(events[0]?.fields.client, connection.client.clientId);
    const { db, close } = openSqlite(stage.database);
    const stored = db.all<{ id: string }>(sql`select id from audit_events where kind = 'refresh.reused'`);
    close();
    assert.deepEqual(stored, [{ id: events[0]?.fields.audit }]);
    // The user's other application has nothing to do with it.
    assert.ok(await other.isAlive());
    assert.equal((await other.refresh()).status, 200);
  });

  test('just after the grace time ends the family too', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    const first = connection.refreshToken;
    await connection.refresh();
    await connection.refresh();
    stage.forward(GRACE + 1);
    assert.deepEqual(refused(await connection.tryRefresh(first)), [400, 'invalid_grant']);
    assert.equal(await connection.isAlive(), false);
  });

  test('over its cap is refused, and nothing is revoked', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    const first = connection.refreshToken;
    const answers = [];
    for (let n = 0; n < MOST_ROTATIONS; n += 1) answers.push(await connection.tryRefresh(first));
    assert.ok(answers.every(({ status }) => status === 200));
    assert.deepEqual(refused(await connection.tryRefresh(first)), [400, 'invalid_grant']);
    const last = answers.at(-1);
    assert.ok(last);
    assert.ok(await connection.isAlive(text(last, 'access_token')));
    assert.equal((await connection.tryRefresh(text(last, 'refresh_token'))).status, 200);
    assert.equal(stage.count('refresh.reused'), 0);
  });
});

describe('a refresh', () => {
  test('narrows a scope that is wider than the grant silently, and says what was granted', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    for (const scope of ['mcp offline_access', 'mcp', 'openid admin:everything', '']) {
      const answer = await connection.tryRefresh(connection.refreshToken, { scope });
      assert.equal(text(answer, 'scope'), 'mcp', scope);
      assert.equal(answer.headers.get('cache-control'), 'no-store');
    }
  });

  test('keeps to the resource of the grant', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    const { url, mcpUrl } = stage.broker;
    for (const resource of [mcpUrl, `${mcpUrl}/`, url]) {
      assert.equal((await connection.tryRefresh(connection.refreshToken, { resource })).status, 200);
    }
    for (const resource of [`${mcpUrl}/forgejo`, 'https://evil.example/mcp', 'mcp']) {
      const answer = await connection.tryRefresh(connection.refreshToken, { resource });
      assert.deepEqual(refused(answer), [400, 'invalid_target']);
    }
  });

  test('of a deleted client is invalid_client 401, of a dead or strange grant invalid_grant 400', async () => {
    await using stage = await startStage();
    const [gone, alive] = [await stage.connect('alice'), await stage.connect('bob')];
    assert.deepEqual(refused(await alive.tryRefresh(strangeToken())), [400, 'invalid_grant']);
    assert.deepEqual(refused(await alive.tryRefresh(gone.refreshToken)), [400, 'invalid_grant']);
    assert.ok(await gone.isAlive(), 'a stranger with the token of another client revokes nothing');
    const { db, close } = openSqlite(stage.database);
    db.run(sql`delete from clients where id = ${gone.client.clientId}`);
    db.run(sql`delete from grants where client_id = ${alive.client.clientId}`);
    close();
    assert.deepEqual(refused(await gone.refresh()), [401, 'invalid_client']);
    assert.deepEqual(refused(await alive.refresh()), [400, 'invalid_grant']);
    for (const connection of [gone, alive]) assert.equal(await connection.statusOf(), 401);
  });

  test('goes on after a restart of the broker, grace and reuse included', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    const first = connection.refreshToken;
    assert.equal((await connection.refresh()).status, 200);
    await stage.broker.restart();
    assert.ok(await connection.isAlive());
    assert.equal((await connection.tryRefresh(first)).status, 200);
    assert.equal((await connection.refresh()).status, 200);
    await stage.broker.restart();
    stage.forward(10 * MINUTE);
    assert.deepEqual(refused(await connection.tryRefresh(first)), [400, 'invalid_grant']);
    assert.equal(await connection.isAlive(), false);
  });

  test('expires after its 90 days, each refresh beginning them anew', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    for (const _ of [1, 2]) {
      stage.forward(90 * DAY - 1);
      assert.equal((await connection.refresh()).status, 200);
    }
    stage.forward(90 * DAY);
    assert.deepEqual(refused(await connection.refresh()), [400, 'invalid_grant']);
  });
});

describe('a store that fails', () => {
  test('locked by another program for too long is 503 in JSON, and the same token works afterwards', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    const { db, close } = openSqlite(stage.database);
    db.run(sql`begin exclusive`);
    const answer = await connection.tryRefresh();
    db.run(sql`rollback`);
    close();
    assert.deepEqual(refused(answer), [503, 'temporarily_unavailable']);
    assert.match(answer.type, /^application\/json/);
    assert.match(answer.headers.get('retry-after') ?? '', /^\d+$/);
    assert.doesNotMatch(JSON.stringify(answer.body), /SQLITE|locked|\.js/);
    assert.equal((await connection.refresh()).status, 200);
    assert.ok(await connection.isAlive());
  });

  test('in any other way is 500 in JSON, nothing is half done, and the same token works afterwards', async () => {
    await using stage = await startStage();
    const connection = await stage.connect('alice');
    const { db, close } = openSqlite(stage.database);
    db.run(sql`create trigger broken before update on clients begin select raise(abort, 'broken'); end`);
    const answer = await connection.tryRefresh();
    db.run(sql`drop trigger broken`);
    close();
    assert.deepEqual(refused(answer), [500, 'server_error']);
    assert.match(answer.type, /^application\/json/);
    assert.equal((await connection.refresh()).status, 200);
  });
});

test('an access token lives to its own end, refreshed or not, and no longer', async () => {
  await using stage = await startStage();
  const connection = await stage.connect('alice');
  const first = connection.access;
  stage.forward(30 * MINUTE);
  await connection.refresh();
  stage.forward(30 * MINUTE - 1);
  assert.ok(await connection.isAlive(first));
  stage.forward(1);
  assert.equal(await connection.statusOf(first), 401);
  assert.ok(await connection.isAlive());
});
