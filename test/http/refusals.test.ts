/** Refused tokens at the MCP endpoints: what an operator finds of them, and how little a flood of them can write. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { MINUTE } from '../../src/base/clock.js';
import { createRefusalCount } from '../../src/http/refusals.js';
import { openSqlite } from '../../src/store/sqlite.js';
import { ask } from '../support/ask.js';
import { type Stage, startStage } from '../support/connection.js';

describe('refusals are told', () => {
  test('at the first, tenth, hundredth of a reason and network in a minute, with their count', () => {
    const count = createRefusalCount(() => 0);
    const told = Array.from({ length: 1500 }, () => count('token_unknown', 'a')).filter(Boolean);
    assert.deepEqual(
      told,
      [1, 10, 100, 1000].map((n) => ({ network: 'a', count: n })),
    );
    assert.deepEqual(count('token_expired', 'a'), { network: 'a', count: 1 });
    assert.deepEqual(count('token_unknown', 'b'), { network: 'b', count: 1 });
  });

  test('anew each minute', () => {
    const clock = { now: 0 };
    const count = createRefusalCount(() => clock.now);
    count('token_unknown', 'a');
    clock.now += MINUTE - 1;
    assert.equal(count('token_unknown', 'a'), undefined);
    clock.now += 1;
    assert.deepEqual(count('token_unknown', 'a'), { network: 'a', count: 1 });
  });

  test('a bounded number of times, however many networks there are, and a network that was told keeps its count', () => {
    const count = createRefusalCount(() => 0);
    const told = Array.from({ length: 5000 }, (_, n) => count('token_unknown', `n${n}`)).filter(Boolean);
    assert.ok(told.length <= 60, `${told.length} lines`);
    assert.deepEqual(told.at(-1), { network: 'others', count: 1000 });
    for (let n = 0; n < 8; n += 1) count('token_unknown', 'n0');
    assert.deepEqual(count('token_unknown', 'n0'), { network: 'n0', count: 10 });
  });
});

describe('a token that is refused at an MCP endpoint', () => {
  const events = ({ database }: Stage) => {
    const { db, close } = openSqlite(database);
    const rows = db.all<{ reason: string; user: string | null; client: string | null }>(
      sql`select reason, user_id as user, client_id as client from audit_events where kind = 'token.refused'`,
    );
    close();
    return rows;
  };
  const show = ({ broker }: Stage, token: string, from: string, path = '/mcp') =>
    ask(broker.url + path, 'HEAD', { Authorization: `Bearer ${token}`, 'X-Forwarded-For': from });

  test('a thousand times is a few lines that name its network, and one event a minute', async () => {
    await using stage = await startStage();
    for (let batch = 0; batch < 100; batch += 1) {
      const shown = Array.from({ length: 10 }, (_, n) =>
        show(stage, `fja_${batch}${n}`, `203.0.113.${n % 2}`),
      );
      for (const { status } of await Promise.all(shown)) assert.equal(status, 401);
    }
    const lines = stage.broker.log.filter(({ event }) => event === 'bearer.refused');
    assert.deepEqual(
      lines.map(({ fields }) => [fields.reason, fields.network, fields.count]).toSorted(),
      [1, 10, 100]
        .flatMap((n) => [
          ['token_unknown', '203.0.113.0', n],
          ['token_unknown', '203.0.113.1', n],
        ])
        .toSorted(),
    );
    assert.ok(stage.count('token.refused') <= lines.length);
    assert.deepEqual(events(stage), [{ reason: 'mcp: token_unknown', user: null, client: null }]);
    stage.forward(MINUTE);
    await show(stage, 'fja_x', '203.0.113.0');
    assert.equal(events(stage).length, 2);
  });

  test('is found under its user and client when it is known, and no event when it has only expired', async () => {
    await using stage = await startStage();
    const { access, client } = await stage.connect('alice');
    await show(stage, access, '203.0.113.1', '/mcp/forgejo');
    const { db, close } = openSqlite(stage.database);
    db.run(sql`update credentials set state = 'dead'`);
    const [alice] = db.all<{ id: string }>(sql`select id from users`);
    close();
    await show(stage, access, '203.0.113.1');
    stage.forward(60 * MINUTE);
    await show(stage, access, '203.0.113.1');
    assert.deepEqual(
      events(stage),
      ['token_of_another_resource', 'user_signed_out'].map((fault) => ({
        reason: `mcp: ${fault}`,
        user: alice?.id,
        client: client.clientId,
      })),
    );
    assert.equal(stage.count('bearer.refused'), 3);
  });

  test('tells its sender no event: the challenge says why, and what to do', async () => {
    await using stage = await startStage();
    const { headers, body } = await show(stage, 'fja_x', '203.0.113.1');
    assert.doesNotMatch(JSON.stringify([headers, body]), /au_/);
    assert.match(headers['www-authenticate'] ?? '', /error="invalid_token"/);
  });
});
