/** `fjmcp-broker demo` as a process: what it prints, what it keeps, and that nothing of it stays behind. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { startCommand } from '../support/command.js';
import { commandLine, type Demo, root, startDemo } from '../support/demo.js';
import { obtainTokens } from '../support/oauth-client.js';
import { callText, connectV1 } from '../support/sdk-v1.js';

/** A child that ends neither with its stdin nor on SIGTERM, and has a child of its own. */
const STUBBORN = commandLine(
  '/usr/bin/env',
  'FIXTURE=deaf,parent',
  process.execPath,
  join(root, 'dist/test/fixtures/server.js'),
);

function makeFolder() {
  const path = mkdtempSync(join(tmpdir(), 'fjmcp-demo-test-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

const portOf = (url: string) => new URL(url).port;

/** The arguments that start `demo` again where it was. */
function samePlace({ mcpUrl, forgejoUrl }: Demo): string[] {
  return ['--port', portOf(mcpUrl), '--forgejo-port', portOf(forgejoUrl)];
}

describe('the announcement', () => {
  test('is with --json one line and all of stdout: an object with the two URLs and the users', async () => {
    await using demo = await startDemo();
    assert.deepEqual(
      demo.users.map(({ login }) => login),
      ['alice', 'bob'],
    );
    await obtainTokens(demo.mcpUrl, demo.user('bob'));
    assert.equal((await fetch(`${demo.forgejoUrl}/api/healthz`)).status, 200);
    await demo.end('SIGINT');
    const { mcpUrl, forgejoUrl, users } = demo;
    assert.deepEqual(JSON.parse(demo.process.stdout), { mcpUrl, forgejoUrl, users });
    assert.equal(demo.process.stdout.indexOf('\n'), demo.process.stdout.length - 1);
    assert.equal(demo.process.stderr, '');
  });

  test('is else a text with the URL, both passwords and three clients to connect', async () => {
    const demo = startCommand(['demo', '--port', '0', '--forgejo-port', '0']);
    await demo.written(/Ctrl-C/);
    const [, mcpUrl = ''] = await demo.written(/MCP URL:\s+(\S+)/);
    for (const login of ['alice', 'bob']) {
      const [, password = ''] = await demo.written(new RegExp(`${login}\\s+password (\\S+)`));
      await obtainTokens(mcpUrl, { login, password });
    }
    for (const client of ['Claude Code', 'Inspector', 'mcp-remote']) {
      const [line] = await demo.written(new RegExp(`^.*${client}.*$`, 'm'));
      assert.ok(line.includes(mcpUrl), line);
    }
    demo.kill('SIGINT');
    assert.deepEqual(await demo.ended, { code: 0, signal: null });
  });
});

describe('the state', () => {
  test('is kept with --data: users, tokens and sign-in live on after a restart', async () => {
    using data = makeFolder();
    await using first = await startDemo({ args: ['--data', data.path] });
    const before = await connectV1(first.mcpUrl, first.user('alice'));
    const session = before.transport.sessionId;
    await before.client.close();
    await first.end('SIGINT');

    await using second = await startDemo({ args: ['--data', data.path, ...samePlace(first)] });
    assert.equal(second.process.stdout, first.process.stdout);
    const { provider } = before;
    await using after = await connectV1(second.mcpUrl, second.user('alice'), { provider });
    assert.notEqual(after.transport.sessionId, session);
    assert.match(await callText(after.client, 'whoami'), /\balice\b/);
    const tokens = provider.tokens();
    assert.ok(tokens);
    provider.saveTokens({ ...tokens, access_token: 'not-a-token' });
    assert.match(await callText(after.client, 'whoami'), /\balice\b/, 'the refresh token works');
    assert.equal(provider.visits, 1, 'and no browser was needed');
  });

  test('is forgotten without --data: nothing is left in the temporary folder', async () => {
    using temporary = makeFolder();
    await using demo = await startDemo({ env: { TMPDIR: temporary.path } });
    await using app = await connectV1(demo.mcpUrl, demo.user('alice'));
    assert.match(await callText(app.client, 'whoami'), /\balice\b/);
    assert.notDeepEqual(readdirSync(temporary.path), []);
    await demo.end('SIGINT');
    assert.deepEqual(readdirSync(temporary.path), []);
  });
});

describe('the end', () => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    test(`comes within two seconds after ${signal} and leaves no process behind`, async () => {
      await using demo = await startDemo();
      await using _app = await connectV1(demo.mcpUrl, demo.user('alice'));
      await demo.end(signal);
    });
  }

  test('comes as soon when a child ignores the end of its stdin and SIGTERM', async () => {
    await using demo = await startDemo({ server: STUBBORN });
    await using _app = await connectV1(demo.mcpUrl, demo.user('alice'));
    await demo.end('SIGINT');
  });

  test('leaves no process behind even when the demo is killed', async () => {
    using temporary = makeFolder(); // nobody is left to empty it
    await using demo = await startDemo({ server: STUBBORN, env: { TMPDIR: temporary.path } });
    await using _app = await connectV1(demo.mcpUrl, demo.user('alice'));
    await demo.end('SIGKILL');
  });
});
