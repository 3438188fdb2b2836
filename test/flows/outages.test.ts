/** What sessions and their running calls notice of a Forgejo that is down, and of one that ends a sign-in. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MINUTE, SECOND } from '../../src/base/clock.js';
import { type Client, clientOf, connect, JSON_TYPE } from '../fixtures/client.js';
import { until } from '../fixtures/until.js';
import type { Connection } from '../support/connection.js';
import { withIntervals } from '../support/intervals.js';
import { act, startToolStage, whoami } from '../support/tools.js';

const TOKEN_ENDPOINT = '/login/oauth/access_token';

async function setUp(env: Readonly<Record<string, string>> = {}) {
  const [stage, intervals] = await withIntervals(() => startToolStage(env));
  const { forgejo, mcpUrl } = stage.broker;
  const call = (client: Client, name: string, args: object = {}, id = 1) =>
    client.call('tools/call', { name, arguments: args }, id);
  return {
    stage,
    forgejo,
    call,
    /** Time passes, second for second as far as the broker's own clockwork goes. */
    pass: async (ms: number) => {
      stage.forward(ms);
      await intervals.run(SECOND);
    },
    open: ({ access }: Connection) => connect(mcpUrl, access),
    /** A session's calls with the token that its application has now. */
    as: ({ access }: Connection, sessionId: string) =>
      clientOf(mcpUrl, { Authorization: `Bearer ${access}`, 'Mcp-Session-Id': sessionId }),
    /** A call that waits for something else than Forgejo, under way. */
    async runningCall(client: Client) {
      const answer = call(client, 'slow', { ms: 120_000 }, 7);
      const begun = () =>
        stage.broker.log.some(({ fields }) => JSON.stringify(fields).includes('Called slow'));
      await until('the call at the child', begun);
      return { answer };
    },
    [Symbol.asyncDispose]: () => stage[Symbol.asyncDispose](),
  };
}

/** The answer to a client that must sign in again, as MCP clients read it. */
async function assertMustSignIn(mcpUrl: string, { access }: Connection): Promise<void> {
  const headers = { ...JSON_TYPE, Authorization: `Bearer ${access}` };
  const response = await fetch(mcpUrl, { method: 'POST', headers, body: '{}' });
  await response.text();
  assert.equal(response.status, 401);
  const challenge = response.headers.get('www-authenticate') ?? '';
  assert.match(challenge, /^Bearer error="invalid_token"/);
  assert.match(challenge, /resource_metadata="http[^"]*\/\.well-known\/oauth-protected-resource\/mcp"/);
}

test('Forgejo is down for an hour: children work until their token ends, it is asked rarely, and nobody signs in again', async () => {
  await using it = await setUp();
  const { stage, forgejo } = it;
  const connection = await stage.connect('alice');
  const { sessionId } = await it.open(connection);
  const ends = stage.now() + 60 * MINUTE;
  await it.pass(4 * MINUTE);
  forgejo.faults.badGateway();
  const [asked, askedForTokens] = [forgejo.faults.count('/'), forgejo.faults.count(TOKEN_ENDPOINT)];
  for (let second = 0; second < 3600; second += 10) {
    await it.pass(10 * SECOND);
    if (!(await connection.isAlive())) assert.equal((await connection.refresh()).status, 200);
    const { error } = await it.call(it.as(connection, sessionId), 'slow', { ms: 0 });
    if (stage.now() < ends) {
      assert.equal(error, undefined, `${(ends - stage.now()) / SECOND} s before the end of the token`);
    } else {
      assert.equal(error?.data?.reason, 'unreachable');
      assert.match(error?.message ?? '', /Try again in \d+ s/);
    }
  }
  assert.equal(stage.count('child.started'), 1);
  const attempts = forgejo.faults.count(TOKEN_ENDPOINT) - askedForTokens;
  assert.ok(attempts >= 5 && attempts <= 30, `${attempts} attempts at tokens in ten minutes`);
  assert.equal(forgejo.faults.count('/') - asked, attempts);
  forgejo.faults.clear();
  await it.pass(MINUTE);
  const { result } = await it.call(it.as(connection, sessionId), 'get_my_user_info');
  assert.equal(JSON.parse(result.content[0].text).Result.login, 'alice');
  assert.equal(connection.visits, 1);
  assert.equal(stage.count('credential.dead'), 0);
});

describe('a sign-in that ends at Forgejo', () => {
  test('by the user ends running calls with a word of it, and every client is told to sign in by the next answer', async () => {
    await using it = await setUp();
    const clients = [await it.stage.connect('alice'), await it.stage.connect('alice')] as const;
    const bob = await it.stage.connect('bob');
    const session = await it.open(clients[0]);
    await it.pass(54 * MINUTE);
    const { answer } = await it.runningCall(session);
    it.forgejo.control.revokeGrant('alice');
    await it.pass(2 * MINUTE);
    const { error } = await answer;
    assert.equal(error?.data?.reason, 'signed-out');
    assert.match(error?.message ?? '', /Sign in again/);
    for (const each of clients) await assertMustSignIn(it.stage.broker.mcpUrl, each);
    assert.equal(await whoami(it.stage, bob), 'bob');
    await clients[0].signIn();
    for (const each of clients) await act(it.stage, each);
  });

  test('by its administrator stops the children and ends every grant of the user', async () => {
    await using it = await setUp();
    const clients = [await it.stage.connect('alice'), await it.stage.connect('alice')] as const;
    const session = await it.open(clients[0]);
    await it.pass(54 * MINUTE);
    const { answer } = await it.runningCall(session);
    it.forgejo.control.bar('alice');
    await it.pass(2 * MINUTE);
    assert.equal((await answer).error?.data?.reason, 'barred');
    await until(
      'no child is left',
      () => it.stage.count('child.stopped') === it.stage.count('child.started'),
    );
    for (const each of clients) {
      await assertMustSignIn(it.stage.broker.mcpUrl, each);
      assert.equal((await each.refresh()).body.error, 'invalid_grant');
    }
    assert.deepEqual([it.stage.count('user.revoked'), it.stage.count('grant.revoked')], [1, 2]);
    it.forgejo.control.unbar('alice');
    await clients[0].signIn();
    await act(it.stage, clients[0]);
    await assertMustSignIn(it.stage.broker.mcpUrl, clients[1]);
  });

  test('by the operator, who lists users now and leaves one out, is the same at the next refresh', async () => {
    await using it = await setUp();
    const [alice, bob] = [await it.stage.connect('alice'), await it.stage.connect('bob')];
    await it.stage.broker.restart({ BROKER_ALLOWED_USERS: 'bob' });
    assert.equal(await whoami(it.stage, alice), 'alice');
    await it.pass(56 * MINUTE);
    assert.equal(await whoami(it.stage, alice), 'barred');
    await assertMustSignIn(it.stage.broker.mcpUrl, alice);
    assert.equal(await whoami(it.stage, bob), 'bob');
    assert.deepEqual([it.stage.count('user.revoked'), it.stage.count('grant.revoked')], [1, 1]);
  });

  test('is not what a proxy in front of Forgejo says when it lets nobody through', async () => {
    await using it = await setUp();
    const alice = await it.stage.connect('alice');
    await it.pass(56 * MINUTE);
    it.forgejo.faults.forbidden('/api/v1/user');
    await whoami(it.stage, alice);
    assert.equal(it.stage.count('credential.refreshed'), 1);
    it.forgejo.faults.clear();
    await it.pass(SECOND);
    await act(it.stage, alice);
    assert.deepEqual([alice.visits, it.stage.count('user.revoked')], [1, 0]);
  });
});
