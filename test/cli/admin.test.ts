/**
 * The operator commands beside a broker that runs on the same database. What they say is looked at in this process; those
 * that change something are processes, as they are for an operator: the broker learns of them through the file alone.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { z } from 'zod';
import { MINUTE } from '../../src/base/clock.js';
import { printable } from '../../src/base/text.js';
import { NOUNS } from '../../src/cli/admin.js';
import { connect } from '../fixtures/client.js';
import { until } from '../fixtures/until.js';
import { startTestBroker, type TestBroker } from '../support/broker.js';
import { BARE, type CommandResult, root, runCommand, runCommandHere } from '../support/command.js';
import {
  authenticated,
  authorize,
  discover,
  NOWHERE,
  obtainTokens,
  type RegisteredClient,
  refresh,
} from '../support/oauth-client.js';

const folder = mkdtempSync(join(tmpdir(), 'fjmcp-admin-test-'));
after(() => rmSync(folder, { recursive: true }));

const CHANGES: ReadonlySet<string | undefined> = new Set(['add', 'revoke']);

function runOn(database: string, args: readonly string[]): Promise<CommandResult> {
  const run = CHANGES.has(args[1]) ? runCommand : runCommandHere;
  return run(args, { ...BARE, BROKER_DATABASE: database });
}

/** A command that must go well; what it printed. */
async function run(database: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runOn(database, args);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' }, args.join(' '));
  return stdout;
}

/** A command that must not; what it told. */
async function refusal(database: string, code: 1 | 2, ...args: string[]): Promise<string> {
  const end = await runOn(database, args);
  assert.deepEqual({ code: end.code, stdout: end.stdout }, { code, stdout: '' }, args.join(' '));
  assert.match(end.stderr, /^fjmcp-broker: ./);
  assert.doesNotMatch(end.stderr, /\n {4}at /, 'no stack');
  return end.stderr;
}

const Row = z.looseObject({ id: z.string() });
const Made = z.looseObject({ id: z.string(), secret: z.string().optional(), audit: z.string() });
const Event = z.looseObject({ id: z.string(), kind: z.string(), reason: z.string().optional() });
const Ended = z.looseObject({ audit: z.string(), grants: z.array(z.string()) });

async function startAdministered() {
  const database = join(folder, `${Math.random()}.db`);
  const broker = await startTestBroker({ env: { BROKER_DATABASE: database } });
  const json = async <T>(schema: z.ZodType<T>, ...args: string[]): Promise<T> =>
    schema.parse(JSON.parse(await run(database, ...args, '--json')));
  return {
    broker,
    database,
    run: (...args: string[]) => run(database, ...args),
    refusal: (code: 1 | 2, ...args: string[]) => refusal(database, code, ...args),
    json,
    list: (...args: string[]) => json(z.array(Row), ...args),
    events: (...args: string[]) => json(z.array(Event), 'audit', 'list', ...args),
    /** A client of the operator, made by the command. */
    async add(...options: string[]): Promise<RegisteredClient> {
      const made = await json(Made, 'clients', 'add', '--name', 'Bot', '--redirect-uri', NOWHERE, ...options);
      const secret = made.secret && { text: made.secret, by: 'client_secret_basic' as const };
      return { clientId: made.id, redirectUri: NOWHERE, ...(secret ? { secret } : {}) };
    },
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

async function statusOf(broker: TestBroker, token: string): Promise<number> {
  const headers = { Authorization: `Bearer ${token}` };
  return (await fetch(broker.mcpUrl, { method: 'HEAD', headers })).status;
}

/** Does what the running broker does each minute. To be called before the broker starts. */
function minutesOf(t: TestContext): () => void {
  const tasks: (() => void)[] = [];
  const real = setInterval;
  t.mock.method(globalThis, 'setInterval', (task: () => void, ms: number) => {
    if (ms === MINUTE) tasks.push(task);
    return real(task, ms);
  });
  return () => {
    assert.ok(tasks.length > 0);
    for (const task of tasks) task();
  };
}

describe('clients', () => {
  test('a confidential client signs users in with its secret by Basic and by body, and by nothing else', async () => {
    await using it = await startAdministered();
    const client = await it.add();
    const { secret } = client;
    assert.ok(secret);
    const discovery = await discover(it.broker.mcpUrl);
    const alice = it.broker.person('alice');
    for (const by of ['client_secret_basic', 'client_secret_post'] as const) {
      const as = { ...client, secret: { ...secret, by } };
      const tokens = await authorize(discovery, as, alice);
      assert.notEqual(await statusOf(it.broker, tokens.access_token), 401);
      await refresh(discovery, as, tokens.refresh_token ?? '');
    }
    const form = { grant_type: 'refresh_token', refresh_token: 'x' };
    const { secret: _kept, ...silent } = client;
    for (const wrong of [silent, { ...client, secret: { ...secret, text: 'fjs_guess' } }]) {
      const request = authenticated(wrong, form);
      const response = await fetch(discovery.server.token_endpoint, { method: 'POST', ...request });
      assert.equal(response.status, 401);
    }
  });

  test('a public client has no secret and signs users in all the same', async () => {
    await using it = await startAdministered();
    const client = await it.add('--public');
    assert.equal(client.secret, undefined);
    const discovery = await discover(it.broker.mcpUrl);
    const tokens = await authorize(discovery, client, it.broker.person('bob'));
    assert.notEqual(await statusOf(it.broker, tokens.access_token), 401);
    assert.match(await it.run('clients', 'show', client.clientId), /^auth method +none$/m);
  });

  test('the secret is printed once: neither it nor its hash is ever shown again', async () => {
    await using it = await startAdministered();
    const redirects = ['--redirect-uri', 'https://a.example/cb', '--redirect-uri', 'http://127.0.0.1/cb'];
    const shown = await it.run('clients', 'add', '--name', 'Team bot', ...redirects);
    const [, secret = ''] = /^secret +(fjs_\S+)$/m.exec(shown) ?? [];
    const [, id = ''] = /^id +(cl_\S+)$/m.exec(shown) ?? [];
    assert.match(shown, /cannot be shown again/);
    for (const args of [['list'], ['show', id], ['list', '--json'], ['show', id, '--json']]) {
      const text = await it.run('clients', ...args);
      assert.ok(text.includes('Team bot') && text.includes(id));
      assert.ok(!text.includes(secret) && !/secret"|[0-9a-f]{64}/.test(text), text);
    }
    const [event] = await it.events('--client', id);
    assert.deepEqual([event?.kind, event?.reason], ['client.registered', 'operator']);
    assert.deepEqual(await it.json(z.looseObject({ redirectUris: z.unknown() }), 'clients', 'show', id), {
      id,
      kind: 'registered',
      name: 'Team bot',
      redirectUris: ['https://a.example/cb', 'http://127.0.0.1/cb'],
      authMethod: 'client_secret_basic',
      grants: 0,
      createdAt: /^created +(\S+Z)$/m.exec(shown)?.[1],
      usedAt: null,
    });
  });

  test('a removed client is unknown at once, its grants have ended, and each has its event', async () => {
    await using it = await startAdministered();
    const client = await it.add();
    const discovery = await discover(it.broker.mcpUrl);
    const tokens = await authorize(discovery, client, it.broker.person('alice'));
    const { grants } = await it.json(Ended, 'clients', 'revoke', client.clientId);
    assert.equal(grants.length, 1);
    assert.equal(await statusOf(it.broker, tokens.access_token), 401);
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token ?? '' };
    const response = await fetch(discovery.server.token_endpoint, {
      method: 'POST',
      ...authenticated(client, form),
    });
    assert.equal(response.status, 401);
    assert.equal(((await response.json()) as { error: string }).error, 'invalid_client');
    const events = await it.events('--client', client.clientId);
    assert.deepEqual(
      events.slice(0, 2).map(({ kind, reason }) => [kind, reason]),
      [
        ['grant.revoked', 'operator'],
        ['client.removed', 'operator'],
      ],
    );
    assert.match(await it.refusal(1, 'clients', 'revoke', client.clientId), /there is no client "cl_/);
  });
});

describe('grants', () => {
  test('a revoked grant: its tokens end at once, its session and streams at the next minute, no other', async (t) => {
    const passMinute = minutesOf(t);
    await using it = await startAdministered();
    const [alice, bob] = [it.broker.person('alice'), it.broker.person('bob')];
    const { access_token: token } = await obtainTokens(it.broker.mcpUrl, alice);
    const alices = await connect(it.broker.mcpUrl, token);
    const bobs = await connect(it.broker.mcpUrl, (await obtainTokens(it.broker.mcpUrl, bob)).access_token);
    const stream = await alices.get();
    assert.equal(stream.status, 200);
    let streamEnded = false;
    void stream.text().then(() => {
      streamEnded = true;
    });

    const [grant] = await it.list('grants', 'list', '--user', 'alice');
    assert.ok(grant);
    assert.match(await it.run('grants', 'show', grant.id), /^user +alice \(us_\S+\)$/m);
    assert.match(
      await it.run('grants', 'revoke', grant.id),
      /^Ended grant gr_\S+ \(alice, .*\)\. Audit: au_\S+$/m,
    );
    assert.equal(await statusOf(it.broker, token), 401);
    assert.equal(streamEnded, false);
    const stopped = () => it.broker.log.filter(({ event }) => event === 'child.stopped').length;
    // The sibling that was asked for its server's era.
    const before = stopped();
    passMinute();
    await until('the end of the stream', () => streamEnded);
    await until('the end of the child', () => stopped() > before);
    assert.ok((await bobs.call('whoami')).result.pid > 0);
    assert.equal(stopped(), before + 1);

    assert.match(await it.refusal(1, 'grants', 'revoke', grant.id), /there is no grant "gr_/);
    assert.deepEqual(await it.list('grants', 'list', '--user', 'alice'), []);
    assert.equal((await it.list('grants', 'list')).length, 1);
  });
});

describe('users', () => {
  test('a user who is signed out loses every grant and the credential, and can sign in again', async () => {
    await using it = await startAdministered();
    const [alice, bob] = [it.broker.person('alice'), it.broker.person('bob')];
    const mine = [await obtainTokens(it.broker.mcpUrl, alice), await obtainTokens(it.broker.mcpUrl, alice)];
    const other = await obtainTokens(it.broker.mcpUrl, bob);
    assert.match(
      await it.run('users', 'list'),
      /^us_\S+ +alice +http\S+ +yes +2\nus_\S+ +bob +http\S+ +yes +1\n$/m,
    );
    const [user] = (await it.list('users', 'list')).map(({ id }) => id);
    assert.ok(user);
    const ended = await it.json(Ended, 'users', 'revoke', 'ALICE');
    assert.equal(ended.grants.length, 2);
    for (const { access_token } of mine) assert.equal(await statusOf(it.broker, access_token), 401);
    assert.notEqual(await statusOf(it.broker, other.access_token), 401);
    assert.match(await it.run('users', 'show', user), /^signed in +no\ngrants +0$/m);
    const kinds = (await it.events('--user', 'alice', '--since', '1h')).map(({ kind }) => kind);
    assert.deepEqual(kinds.slice(0, 3), ['grant.revoked', 'grant.revoked', 'user.revoked']);
    await obtainTokens(it.broker.mcpUrl, alice);
    assert.match(await it.run('users', 'show', user), /^signed in +yes\ngrants +1$/m);
    assert.match(await it.refusal(1, 'users', 'show', 'mallory'), /there is no user "mallory"/);
  });
});

describe('audit', () => {
  test('the id that a page tells a user to quote is found, with the reason', async () => {
    await using it = await startAdministered();
    const page = await fetch(`${it.broker.url}/oauth/authorize?client_id=cl_gone&response_type=code`);
    const [id = ''] = /au_[\w-]{22}/.exec(await page.text()) ?? [];
    const shown = await it.run('audit', 'show', id);
    assert.match(shown, /^kind +authorization\.refused$/m);
    assert.match(shown, /^reason +client_unknown$/m);
    assert.match(await it.refusal(1, 'audit', 'show', 'au_none'), /there is no event "au_none"/);
    assert.match(await it.refusal(1, 'audit', 'show', 'in_some'), /broker's log/);
  });

  test('a list is cut at its limit and says so', async () => {
    await using it = await startAdministered();
    await obtainTokens(it.broker.mcpUrl, it.broker.person('alice'));
    const two = await it.events('--limit', '2');
    assert.deepEqual(
      two.map(({ kind }) => kind),
      ['grant.made', 'client.registered'],
    );
    assert.match(await it.run('audit', 'list', '--limit', '1'), /older ones/);
    assert.doesNotMatch(await it.run('audit', 'list', '--limit', '2'), /older ones/);
    assert.deepEqual(await it.events('--since', '2999-01-01'), []);
    assert.equal((await it.events('--kind', 'grant.made', '--since', '2020-01-01T00:00Z')).length, 1);
  });
});

describe('what a stranger chose', () => {
  test('moves no cursor and begins no line, in a list as in JSON', async () => {
    await using it = await startAdministered();
    const name = `\u001b[2J\u009b31mFake\ncl_x registered\u202e${'long'.repeat(40)}`;
    const response = await fetch(`${it.broker.url}/oauth/register`, {
      method: 'POST',
      body: JSON.stringify({ client_name: name, redirect_uris: ['https://c.example/'] }),
    });
    assert.equal(response.status, 201);
    const [list, whole] = [await it.run('clients', 'list'), await it.run('clients', 'list', '--json')];
    assert.equal(list.split('\n').length, 3);
    for (const text of [list, whole]) assert.doesNotMatch(text, /[^\n\P{C}]/u);
    assert.deepEqual(
      (await it.json(z.array(z.looseObject({ name: z.string() })), 'clients', 'list')).map((row) => row.name),
      [printable(name)],
    );
  });
});

describe('a command that cannot be meant', () => {
  for (const [args, expected] of [
    [['clients'], /a command is missing/],
    [['grants', 'add'], /no command "add"/],
    [['grants', 'constructor'], /no command "constructor"/],
    [['clients', 'show'], /show: ID is missing/],
    [['users', 'show', 'alice', 'bob'], /"bob" is not expected/],
    [['users', 'list', 'alice'], /"alice" is not expected/],
    [['grants', 'list', '--usr', 'alice'], /'--usr'/],
    [['grants', 'list', '--user', 'a', '--user', 'b'], /--user is given twice/],
    [['clients', 'add', '--redirect-uri', NOWHERE], /--name is missing/],
    [['clients', 'add', '--name', 'x'], /--redirect-uri is missing/],
    [['clients', 'add', '--name', 'x', '--redirect-uri', 'http://x.example/'], /x\.example\/: plain http/],
    [['audit', 'list', '--kind', 'grant'], /no kind "grant"/],
    [['audit', 'list', '--limit', '0'], /--limit/],
    [['audit', 'list', '--since', 'yesterday'], /--since/],
    [['audit', 'list', '--since', '2026-02-31T99:00'], /--since/],
  ] as const) {
    test(`is answered with the usage of its noun: ${args.join(' ')}`, async () => {
      const end = await runCommandHere(args, { ...BARE, BROKER_DATABASE: join(folder, 'none.db') });
      assert.deepEqual([end.code, end.stdout], [2, '']);
      const [told, usage] = end.stderr.split('\n\n', 2);
      assert.match(told ?? '', expected);
      assert.match(told ?? '', /^fjmcp-broker: .+$/);
      assert.ok(usage?.startsWith(`usage: fjmcp-broker ${args[0]} <command>`), usage);
    });
  }

  test('ends with exit code 2, the problem and the usage on stderr', async () => {
    const stderr = await refusal(join(folder, 'none.db'), 2, 'grants', 'add');
    assert.match(stderr, /^fjmcp-broker: .*"add".*\n\nusage: fjmcp-broker grants <command>/);
  });

  test('each noun explains itself on stdout when asked', async () => {
    for (const noun of Object.keys(NOUNS)) {
      for (const args of [['--help'], ['list', '--help'], ['help']]) {
        const usage = await run(join(folder, 'none.db'), noun, ...args);
        assert.ok(usage.startsWith(`usage: fjmcp-broker ${noun} `), usage);
      }
    }
    assert.match(await run(join(folder, 'none.db'), 'audit', '--help'), /grant\.revoked/);
  });
});

describe('the database', () => {
  test('that is not there is told by its path, and not made', async () => {
    const path = join(folder, 'sub/none.db');
    const told = await refusal(path, 1, 'users', 'list');
    assert.ok(told.includes(path) && told.includes('BROKER_DATABASE'), told);
    assert.equal(existsSync(join(folder, 'sub')), false);
  });

  test('that is something else is told in a line', async () => {
    assert.match(await refusal(join(root, 'package.json'), 1, 'clients', 'list'), /not a database/);
    assert.match(await refusal('postgres://x', 1, 'clients', 'list'), /BROKER_DATABASE/);
  });
});

describe('the output', () => {
  let it: Awaited<ReturnType<typeof startAdministered>>;
  before(async () => {
    it = await startAdministered();
  });
  after(() => it[Symbol.asyncDispose]());

  test('an empty list is a sentence for people and an empty array for programs', async () => {
    for (const noun of ['clients', 'grants', 'users', 'audit']) {
      assert.match(await it.run(noun, 'list'), /^There is no .*\.\n$/);
      assert.deepEqual(await it.list(noun, 'list'), []);
    }
  });

  test('is from a process of its own the same, to the stream and the exit code', async () => {
    const env = { ...BARE, BROKER_DATABASE: it.database };
    for (const args of [
      ['users', 'list', '--json'],
      ['audit', 'show', 'au_none'],
    ]) {
      assert.deepEqual(await runCommand(args, env), await runCommandHere(args, env));
    }
  });

  test('may be cut short by its reader without a complaint', () => {
    const main = join(root, 'dist/src/main.js');
    const { stderr } = spawnSync(
      'sh',
      ['-c', '"$0" "$1" audit --help | true; exec "$0" "$1" clients list >&-', process.execPath, main],
      { env: { ...process.env, BROKER_DATABASE: join(folder, 'none.db') }, encoding: 'utf8' },
    );
    assert.doesNotMatch(stderr, /EPIPE|\n {4}at /);
  });
});
