/** One credential at Forgejo, many clients: nobody is logged out by another's sign-in, a refresh, or a Forgejo that is down. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DAY, MINUTE, SECOND } from '../../src/base/clock.js';
import { clientOf, connect } from '../fixtures/client.js';
import { until } from '../fixtures/until.js';
import { Browser } from '../support/browser.js';
import type { Stage } from '../support/connection.js';
import { act, startToolStage as start, toCallback, whoami } from '../support/tools.js';

const HOUR = 60 * MINUTE;
const TOKEN_ENDPOINT = '/login/oauth/access_token';

const upstreamRefreshes = (stage: Stage) => stage.count('credential.refreshed');
const whyDead = (stage: Stage) =>
  stage.broker.log.filter(({ event }) => event === 'credential.dead').map(({ fields }) => fields.detail);

describe('two clients of one user', () => {
  test('that refresh and work for five days are never logged out', async () => {
    await using stage = await start();
    const browser = new Browser();
    const clients = [await stage.connect('alice', browser), await stage.connect('alice', browser)];
    for (let time = 0; time < 5 * DAY; time += 6 * HOUR) {
      await Promise.all(clients.map((each) => act(stage, each)));
      stage.forward(6 * HOUR);
    }
    assert.deepEqual(
      clients.map(({ visits }) => visits),
      [1, 1],
    );
    assert.ok(upstreamRefreshes(stage) >= 19, `${upstreamRefreshes(stage)} refreshes at Forgejo`);
    assert.equal(stage.count('credential.dead'), 0);
    assert.equal(stage.count('refresh.reused'), 0);
  });

  test('share one upstream refresh, however many of their children start at once', async () => {
    await using stage = await start();
    const clients = [await stage.connect('alice'), await stage.connect('alice')];
    stage.forward(2 * HOUR);
    for (const each of clients) await each.refresh();
    const starts = [...clients, ...clients, ...clients].map((each) => whoami(stage, each));
    assert.deepEqual(new Set(await Promise.all(starts)), new Set(['alice']));
    assert.equal(upstreamRefreshes(stage), 1);
  });

  test('do not hurt each other by a new sign-in, though Forgejo kills the older refresh token', async () => {
    await using stage = await start();
    const first = await stage.connect('alice');
    stage.forward(2 * HOUR);
    await act(stage, first);
    const second = await stage.connect('alice');
    await act(stage, first);
    for (const _ of [1, 2, 3]) {
      stage.forward(2 * HOUR);
      await act(stage, first);
      await act(stage, second);
    }
    assert.deepEqual([first.visits, second.visits], [1, 1]);
    assert.equal(stage.count('credential.dead'), 0);
  });

  test('are asked for exactly one new sign-in when the answer to an upstream refresh is lost, and the log says why', async () => {
    await using stage = await start();
    const { faults } = stage.broker.forgejo;
    const [one, two] = [await stage.connect('alice'), await stage.connect('alice')];
    stage.forward(2 * HOUR);
    await one.refresh();
    await two.refresh();
    faults.loseAnswer(TOKEN_ENDPOINT);
    // Nothing is known yet: Forgejo may merely be down.
    assert.equal(await whoami(stage, one), 'unreachable');
    assert.ok(await one.isAlive());
    faults.clear();
    assert.equal(await whoami(stage, two), 'unreachable');
    stage.forward(SECOND);
    assert.equal(await whoami(stage, two), 'signed-out');
    for (const each of [one, two]) {
      assert.equal(await each.statusOf(), 401);
      const { status, body } = await each.refresh();
      assert.deepEqual([status, body.error], [400, 'invalid_grant']);
    }
    assert.deepEqual(
      stage.broker.log
        .filter(({ event }) => /^credential\.(?:refresh_failed|dead)$/.test(event))
        .map(({ event, fields }) => [event, fields.detail]),
      [
        ['credential.refresh_failed', 'network (UND_ERR_SOCKET)'],
        ['credential.dead', 'token endpoint: unauthorized_client'],
      ],
    );

    await one.signIn();
    for (const each of [one, two]) await act(stage, each);
    stage.forward(2 * HOUR);
    for (const each of [one, two]) await act(stage, each);
    assert.deepEqual([one.visits, two.visits], [2, 1]);
    assert.equal(stage.count('credential.dead'), 1);
  });
});

test('two tabs of one browser that finish in the other order leave the living credential behind', async () => {
  await using stage = await start();
  const browser = new Browser();
  const connection = await stage.connect('alice', browser);
  const { faults } = stage.broker.forgejo;
  const [slow, quick] = [
    await toCallback(stage, connection, browser),
    await toCallback(stage, connection, browser),
  ];
  const asked = faults.count('/api/v1/user');
  faults.slow(500, '/api/v1/user');
  const first = browser.get(slow);
  await until('the slow one at Forgejo', () => faults.count('/api/v1/user') > asked);
  faults.clear();
  const pages = await Promise.all([first, browser.get(quick)]);
  for (const { location } of pages) assert.ok(location?.searchParams.get('code'));
  stage.forward(2 * HOUR);
  await act(stage, connection);
  assert.equal(connection.visits, 1);
});

describe('a Forgejo', () => {
  test('that is down for an hour logs nobody out', async () => {
    await using stage = await start();
    const { faults } = stage.broker.forgejo;
    const connection = await stage.connect('alice');
    stage.forward(58 * MINUTE);
    faults.badGateway();
    for (let minutes = 0; minutes < 60; minutes += 10) {
      stage.forward(10 * MINUTE);
      if (!(await connection.isAlive())) assert.equal((await connection.refresh()).status, 200);
      assert.equal(await whoami(stage, connection), 'unreachable');
    }
    faults.clear();
    stage.forward(MINUTE);
    await act(stage, connection);
    assert.equal(connection.visits, 1);
    assert.equal(stage.count('credential.dead'), 0);
  });

  test('that cannot be reached refreshes tokens of the broker all the same: they are ours', async () => {
    await using stage = await start();
    const connection = await stage.connect('alice');
    stage.broker.forgejo.faults.reset();
    stage.forward(2 * HOUR);
    assert.equal((await connection.refresh()).status, 200);
    assert.ok(await connection.isAlive());
  });

  test('that bars the user ends the work of every client at the next upstream refresh, and of nobody else', async () => {
    await using stage = await start();
    const clients = [await stage.connect('alice'), await stage.connect('alice')];
    const bob = await stage.connect('bob');
    stage.broker.forgejo.control.bar('alice');
    stage.forward(2 * HOUR);
    for (const each of [...clients, bob]) await each.refresh();
    assert.equal(await whoami(stage, clients[0] ?? assert.fail()), 'barred');
    for (const each of clients) {
      assert.equal(await each.statusOf(), 401);
      assert.equal((await each.refresh()).body.error, 'invalid_grant');
    }
    assert.equal(await whoami(stage, bob), 'bob');
  });

  test('where the user revoked the broker: every client gets 401 next, and invalid_grant when it refreshes', async () => {
    await using stage = await start();
    const clients = [await stage.connect('alice'), await stage.connect('alice')];
    stage.broker.forgejo.control.revokeGrant('alice');
    stage.forward(2 * HOUR);
    for (const each of clients) await each.refresh();
    assert.equal(await whoami(stage, clients[0] ?? assert.fail()), 'signed-out');
    for (const each of clients) {
      assert.equal(await each.statusOf(), 401);
      const { status, body } = await each.refresh();
      assert.deepEqual([status, body.error], [400, 'invalid_grant']);
    }
    assert.deepEqual(whyDead(stage), ['token endpoint: invalid_grant']);
    const [first] = clients;
    await first?.signIn();
    for (const each of clients) await act(stage, each);
  });
});

test('a session outlives many upstream tokens: its child is replaced, its id stays', async () => {
  await using stage = await start();
  const connection = await stage.connect('alice');
  const { sessionId } = await connect(stage.broker.mcpUrl, connection.access);
  for (let hour = 0; hour < 24; hour += 2) {
    if (!(await connection.isAlive())) await connection.refresh();
    const headers = { Authorization: `Bearer ${connection.access}`, 'Mcp-Session-Id': sessionId };
    const client = clientOf(stage.broker.mcpUrl, headers);
    const { result } = await client.call('tools/call', { name: 'get_my_user_info' }, hour);
    assert.equal(JSON.parse(result.content[0].text).Result.login, 'alice');
    stage.forward(2 * HOUR);
  }
  assert.equal(connection.visits, 1);
});
